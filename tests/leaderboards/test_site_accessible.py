"""Pages of the site before axe-core: no violation that it calls serious or critical, light and dark, desktop and phone.

By default the published records' site is built, which is slow; FEDSIEGE_SITE names one that is there already.
"""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync")
SIZES = ((1280, 900), (390, 844))
PAGES = (
    "index.html", "boards/field.html", "boards/digits.html", "boards/backdoors.html", "boards/membership.html",
    "boards/robust-dp.html", "boards/factors.html", "boards/run-audits.html", "boards/siege.html",
    "defenses/trimmed_mean.html", "defenses/rlr.html", "attacks/dba.html", "attacks/imprint.html",
    "attacks/membership_lira.html", "claims/claims.html", "docs/claims.html", "docs/index.html",
    "docs/getting-started.html", "docs/attacks.html", "docs/boards.html", "papers/index.html",
    "papers/niss-fig3/table.html",
)  # fmt: skip
BAD = {"serious", "critical"}
RUN = (
    "const done = arguments[0];"
    "axe.run(document, {resultTypes: ['violations']}).then(done, (error) => done({error: String(error)}))"
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def axe() -> str:
    package = pytest.importorskip("axe_core_python", reason="axe is not installed: pip install -e '.[site-checks]'")
    return (Path(package.__path__[0]) / "axe.min.js").read_text()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if there := os.environ.get("FEDSIEGE_SITE"):
        return Path(there).resolve()
    from bench.runs.site import make_site

    output = tmp_path_factory.mktemp("site") / "site"
    make_site(output, None, lambda line: None)
    return output


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    browser, service = next(filter(None, map(shutil.which, BROWSERS)), None), shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip("no chromium with chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    started.set_script_timeout(300)
    yield started
    started.quit()


@pytest.mark.parametrize("page", PAGES)
def test_axe_finds_nothing_serious_and_no_page_is_wider_than_the_screen(
    driver: Any, site: Path, axe: str, page: str
) -> None:
    for width, height in SIZES:
        for scheme in ("light", "dark"):
            metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
            features = [{"name": "prefers-color-scheme", "value": scheme}]
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": features})
            driver.get((site / page).as_uri())
            driver.execute_script(axe)
            found = driver.execute_async_script(RUN)
            assert "error" not in found
            told = [
                (one["id"], one["nodes"][0]["target"], len(one["nodes"]))
                for one in found["violations"]
                if one["impact"] in BAD
            ]
            assert told == [], (width, scheme)
            assert driver.execute_script("return document.documentElement.scrollWidth") <= width, scheme
