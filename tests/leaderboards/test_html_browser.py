"""The page in a real Chromium: sorting, filters, the way down to the records, phone and desktop, light and dark."""

import base64
import io
import itertools
import json
import math
import shutil
from collections.abc import Iterator
from dataclasses import replace

import pytest
from PIL import Image

from leaderboards.board import Picture
from leaderboards.html import html

pytestmark = pytest.mark.integration

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
    "--disable-sync", "--hide-scrollbars",
)  # fmt: skip
PHONE, SMALL, DESKTOP = (390, 844), (320, 640), (1280, 900)
ROWS = ("bare", "noisy", "krum", "a rule (c=2)")
HUE = {"light": 255, "dark": 14}
"""The red of the paper in each scheme."""


@pytest.fixture(scope="module")
def driver(tmp_path_factory) -> Iterator:
    """Chromium with its driver; both come with the system, so that nothing is downloaded."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed: pip install -e '.[dev]'")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    service = shutil.which("chromedriver")
    if browser is None or service is None:
        pytest.skip("no chromium with chromedriver here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    started = webdriver.Chrome(options=options, service=webdriver.ChromeService(service))
    yield started
    started.quit()


def png() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (900, 60), "navy").save(buffer, format="png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def leaderboard(whole_matrix, make, make_leak, make_boards):
    curve = [(at, 0.5 + at / 200) for at in range(0, 101, 5)]
    records = [record.model_copy(update={"curve": curve}) if record.metrics else record for record in whole_matrix]
    for row, drop in (("krum", 0.25), ("a rule (c=2)", 0.4)):
        records += [make(row, accuracy=0.95 - drop, curve=curve), make(row, "sign_flip", 0.2, 0.9 - drop)]
        records += [make(row, "sign_flip", 0.4, 0.75 - drop), make_leak(row, recovered=0.5)]
    found = make_boards(records, seeds=3)
    return replace(
        found,
        asked_for="tiny",
        runnable=frozenset(record.cell.hash for record in records),
        pictures=[Picture("gallery-dlg", "Gallery: dlg", "All of it is navy.", png)],
    )


@pytest.fixture(scope="module")
def address(leaderboard, tmp_path_factory):
    path = tmp_path_factory.mktemp("page") / "board.html"
    path.write_text(html(leaderboard), encoding="utf-8")
    return path.as_uri()


class Browser:
    """The page as a reader has it."""

    def __init__(self, driver, address: str) -> None:
        self.driver, self.address = driver, address

    def open(self, size=DESKTOP, scheme="light", media="") -> "Browser":
        width, height = size
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(self.address)
        from selenium.webdriver.support.ui import WebDriverWait

        ready = "return !document.getElementById('filters').classList.contains('gone')"
        WebDriverWait(self.driver, 20).until(lambda driver: driver.execute_script(ready))  # its data is unpacked first
        return self

    def run(self, script: str, *values):
        return self.driver.execute_script(script, *values)

    def find(self, selector: str):
        return self.driver.find_element("css selector", selector)

    def all(self, selector: str) -> list:
        return self.driver.find_elements("css selector", selector)

    def rows(self, table: str) -> list[str]:
        """The defenses that are shown, from top to bottom."""
        return [row.get_attribute("data-row") for row in self.all(f"#table-{table} tr[data-row]") if row.is_displayed()]

    def columns(self, table: str) -> list[str]:
        heads = self.all(f"#table-{table} thead th[data-column]")
        return [head.get_attribute("data-column") for head in heads if head.is_displayed()]

    def head(self, table: str, text: str):
        heads = self.all(f"#table-{table} thead th")
        return next(
            head
            for head in heads
            if text in (head.get_attribute("data-column"), " ".join(head.text.split("\xa0")[0].split()))
        )

    def click(self, element) -> None:
        self.run("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", element)
        element.click()

    def sort(self, table: str, text: str) -> str:
        head = self.head(table, text)
        self.click(head.find_element("css selector", "button"))
        return head.get_attribute("aria-sort")

    def choose(self, name: str, value: str) -> None:
        self.run(
            "const one = document.getElementById(arguments[0]); one.value = arguments[1];"
            "one.dispatchEvent(new Event('input'))",
            f"filter-{name}",
            value,
        )

    def keys(self, *names: str) -> None:
        from selenium.webdriver import ActionChains, Keys

        chain = ActionChains(self.driver)
        for name in names:
            chain.send_keys(getattr(Keys, name))
        chain.perform()

    @property
    def focus(self):
        return self.driver.switch_to.active_element

    def picture(self, whole: bool = False) -> Image.Image:
        shot = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": whole})
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")


@pytest.fixture
def browser(driver, address) -> Browser:
    return Browser(driver, address)


# ----------------------------------------------------------------------------------------------------- quiet and closed


def test_it_asks_for_nothing_and_says_nothing(browser):
    browser.open()
    for place in browser.all("#table-overall .place")[:2]:
        browser.click(place)
        browser.keys("ESCAPE")
    browser.sort("privacy", "dlg")
    browser.choose("attack", "dlg")
    messages = [json.loads(entry["message"])["message"] for entry in browser.driver.get_log("performance")]
    sent = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in sent if not url.startswith("data:")] == [browser.address]
    assert browser.driver.get_log("browser") == []


def test_its_policy_stops_what_is_not_its_own(browser):
    browser.open()
    script = """
        const done = arguments[arguments.length - 1];
        const script = document.createElement("script");
        script.textContent = "window.foreign = true";
        document.body.append(script);
        const image = new Image();
        image.onerror = () => done([window.foreign === undefined, "stopped"]);
        image.onload = () => done([window.foreign === undefined, "loaded"]);
        image.src = "http://127.0.0.1:9/pixel.png";
    """
    assert browser.driver.execute_async_script(script) == [True, "stopped"]
    assert any("Content Security Policy" in entry["message"] for entry in browser.driver.get_log("browser"))


# -------------------------------------------------------------------------------------------------------------- sorting


def accuracy_order(leaderboard, column: str) -> list[str]:
    """From the numbers that the CSV has: highest first, failed ones as 0, equal ones in the board's order."""
    board = next(one for one in leaderboard.boards if one.name == "robustness")
    data = board.data[(board.data["metric"] == "accuracy") & (board.data["column"] == column)]
    scores = {line.defense: 0.0 if line.failed else line.mean for line in data.itertuples()}
    return sorted(board.text["defense"], key=lambda row: -scores[row])


def test_sorting_by_a_number(browser, leaderboard):
    browser.open()
    expected = accuracy_order(leaderboard, "sign_flip b=0.4")
    assert browser.rows("robustness") == list(leaderboard.boards[1].text["defense"])
    assert browser.sort("robustness", "sign_flip b=0.4") == "descending"
    assert browser.rows("robustness") == expected
    assert expected[-1] == "noisy"  # one seed failed
    assert browser.sort("robustness", "sign_flip b=0.4") == "ascending"
    assert browser.rows("robustness") == expected[::-1]
    assert browser.sort("robustness", "defense") == "ascending"
    assert browser.rows("robustness") == sorted(ROWS)
    assert browser.head("robustness", "sign_flip b=0.4").get_attribute("aria-sort") == "none"


def test_what_was_not_measured_comes_last_both_ways(browser):
    browser.open()
    for _ in range(2):
        browser.sort("privacy", "collusion rho=0.6")
        assert set(browser.rows("privacy")[-2:]) == {"krum", "a rule (c=2)"}
    assert browser.all("#table-privacy tr")[-1].text.startswith("control: mean image")


def test_sorting_by_keyboard_and_back(browser, leaderboard):
    browser.open()
    before = browser.rows("overall")
    browser.run("arguments[0].focus()", browser.find("#table-overall thead button"))
    browser.keys("ENTER")
    assert browser.rows("overall") == sorted(ROWS)
    browser.click(browser.find("#reset"))
    assert browser.rows("overall") == before


# -------------------------------------------------------------------------------------------------------------- filters


def test_filtering_by_name(browser):
    browser.open()
    browser.find("#filter-name").send_keys("KR, bar")
    for table in ("overall", "robustness", "privacy"):
        assert set(browser.rows(table)) == {"krum", "bare"}
    assert browser.find("#count").text == "2 of 4 defenses, 8 of 8 threat models shown"
    assert len([line for line in browser.all("#curves polyline") if line.is_displayed()]) == 2 * 3
    browser.click(browser.find("#reset"))
    assert set(browser.rows("overall")) == set(ROWS)


@pytest.mark.parametrize(
    ("choice", "robustness", "privacy", "audits"),
    [
        ({"kind": "training"}, ["clean", "sign_flip b=0.2", "sign_flip b=0.4"], [], []),
        ({"kind": "audit"}, [], [], ["audit", "audit rho=0.6", "audit rho=1"]),
        ({"attack": "sign_flip", "b": "0.4"}, ["sign_flip b=0.4"], [], []),
        ({"b": "0.2"}, ["sign_flip b=0.2"], ["dlg", "collusion rho=0.6"], ["audit", "audit rho=0.6", "audit rho=1"]),
        ({"kind": "inversion", "rho": "0.6"}, [], ["collusion rho=0.6"], []),
        ({"kind": "inversion", "attack": "sign_flip"}, [], [], []),
    ],
)
def test_filtering_by_threat_model(browser, choice, robustness, privacy, audits):
    browser.open()
    for name, value in choice.items():
        browser.choose(name, value)
    assert browser.columns("robustness") == robustness
    assert browser.columns("privacy") == privacy
    assert browser.columns("audits") == audits
    for table, found in (("robustness", robustness), ("privacy", privacy), ("audits", audits)):
        assert browser.find(f"#{table} .nothing").is_displayed() == (not found)
        cells = browser.all(f"#table-{table} tbody:first-of-type tr:first-child td[data-column]")
        assert [cell.get_attribute("data-column") for cell in cells if cell.is_displayed()] == found
    shown = len(robustness) + len(privacy) + len(audits)
    assert browser.find("#count").text == f"4 of 4 defenses, {shown} of 8 threat models shown"


def chosen(browser, row: str, board: str):
    (line,) = (one for one in browser.all("#table-overall tr[data-row]") if one.get_attribute("data-row") == row)
    return line.find_element("css selector", f"td[data-board={board}]")


def test_with_all_attacks_of_a_kind_the_worst_is_what_the_board_ranks_by(browser, leaderboard):
    browser.open()
    assert not chosen(browser, "bare", "robustness").is_displayed()
    for kind, board in (("training", "robustness"), ("inversion", "privacy")):
        browser.choose("kind", kind)
        scores = next(one for one in leaderboard.boards if one.name == board).standing.scores
        for row in ROWS:
            cell = chosen(browser, row, board)
            assert cell.is_displayed()
            if math.isnan(scores[row]):
                assert cell.text == "–"
            else:
                assert float(cell.get_attribute("data-key")) == scores[row]


def test_the_worst_of_the_chosen_attacks_sorts_and_leads_on(browser):
    browser.open()
    browser.choose("b", "0.2")
    assert chosen(browser, "krum", "robustness").text == "65.0 (sign_flip b=0.2)"
    assert browser.sort("overall", "lowest accuracy, chosen attacks") == "descending"
    assert browser.rows("overall") == ["krum", "bare", "noisy", "a rule (c=2)"]
    browser.click(chosen(browser, "krum", "robustness").find_element("css selector", "button"))
    assert browser.find("#panel-title").text == "krum × sign_flip b=0.2"


# -------------------------------------------------------------------------------------------------- down to the records


def test_a_number_leads_to_its_records_and_back(browser, leaderboard):
    browser.open()
    (button,) = browser.all(
        """#table-robustness [data-place='["noisy", "sign_flip b=0.4"]'].place:not(td:nth-child(4) *)"""
    )
    browser.click(button)
    panel = browser.find("#panel")
    assert panel.is_displayed()
    assert browser.find("#panel-title").text == "noisy × sign_flip b=0.4"
    text = panel.text
    assert "1 seed(s) failed: ValueError: no" in text
    assert "python -m bench run --suite tiny --defense noisy --attack sign_flip --seeds 0,1,2 --results rerun" in text
    mine = [one for one in leaderboard.evidence if (one.cell.label, one.cell.column) == ("noisy", "sign_flip b=0.4")]
    assert len(mine) == 3
    for record in mine:
        assert f"results/tiny/noisy/sign_flip/{record.key}.json" in text
    status = [cell.text for cell in browser.all("[aria-label='Values by seed'] tbody tr:first-child td")]
    assert status == ["ok", "failed", "ok"]
    browser.click(browser.find("#panel summary"))
    assert "50.0%" in browser.find("#panel details").text
    browser.keys("ESCAPE")
    assert not panel.is_displayed()
    assert browser.focus == button


def test_every_place_opens(browser):
    browser.open()
    places = {button.get_attribute("data-place") for button in browser.all("[data-place]")}
    assert len(places) > 20
    for place in sorted(places):
        title = browser.run(
            "[...document.querySelectorAll('[data-place]')].find((one) => one.dataset.place === arguments[0]).click();"
            "const title = document.getElementById('panel-title').textContent;"
            "document.getElementById('panel').close(); return title",
            place,
        )
        assert title == " × ".join(json.loads(place))
    assert browser.driver.get_log("browser") == []


def test_arrow_keys_move_in_a_table_that_is_one_stop(browser):
    browser.open()
    stops = browser.run(
        "return [...document.querySelectorAll('table')].map((table) =>"
        "[...table.querySelectorAll('button, a')].filter((one) => one.tabIndex === 0).length)"
    )
    assert set(stops) == {1}
    browser.run("arguments[0].focus()", browser.find("#table-robustness thead button"))
    browser.keys(*["ARROW_RIGHT"] * 3, "ARROW_DOWN", "ARROW_DOWN")  # past the rank interval and the name
    second = browser.rows("robustness")[1]
    assert json.loads(browser.focus.get_attribute("data-place"))[0] == second
    browser.keys("ENTER")
    assert browser.find("#panel-title").text.startswith(second)


def test_a_name_points_its_line_out(browser):
    browser.open()
    browser.click(browser.find(".legend button[data-row='krum']"))
    assert browser.find(".legend button[data-row='krum']").get_attribute("aria-pressed") == "true"
    opacity = {
        line.get_attribute("data-row"): float(line.value_of_css_property("opacity"))
        for line in browser.all("#curves figure:first-child polyline")
    }
    assert opacity == {row: 1.0 if row == "krum" else 0.15 for row in ROWS}


def test_the_skip_link_shows_and_leads_to_the_boards(browser):
    browser.open()
    browser.keys("TAB")
    assert browser.focus.text == "Skip to the boards"
    assert browser.focus.location["x"] >= 0
    assert browser.focus.value_of_css_property("outline-style") == "solid"
    browser.keys("ENTER")
    assert browser.focus.get_attribute("id") == "boards"


# -------------------------------------------------------------------------------------------------- how it is looked at


@pytest.mark.parametrize("size", [SMALL, PHONE, DESKTOP])
def test_only_tables_scroll_sideways_and_keep_their_first_column(browser, size):
    browser.open(size)
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]
    box = browser.find("#privacy .scroll")
    lefts = []
    for shift in (0, 10_000):
        browser.run("arguments[0].scrollLeft = arguments[1]", box, shift)
        lefts.append(
            browser.run("return document.querySelector('#table-privacy tbody th').getBoundingClientRect().left")
        )
    assert lefts[0] == lefts[1] >= 0
    wide = browser.run("return arguments[0].scrollWidth > arguments[0].clientWidth", box)
    assert wide == (size != DESKTOP)


def test_controls_are_large_enough_for_a_finger(browser):
    browser.open(PHONE)
    controls = browser.all("#filters input, #filters select, #filters button, .sort, .place, .legend button")
    shown = [element for element in controls if element.is_displayed()]
    assert len(shown) > 50
    for element in shown:
        assert min(element.size["height"], element.size["width"]) >= 24, element.get_attribute("outerHTML")


CONTRASTS = """
    const channels = (text) => {
        const [r, g, b, a = 1] = text.match(/-?[\\d.]+(e-\\d+)?/g).map(Number);
        const scale = text.startsWith("color(") ? 1 : 255;
        return { rgb: [r, g, b].map((value) => value / scale), a };
    };
    const luminance = ({ rgb }) => {
        const [r, g, b] = rgb.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ground = (element) => {
        for (let one = element; one; one = one.parentElement) {
            const found = channels(getComputedStyle(one).backgroundColor);
            if (found.a > 0) return found;
        }
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    while (walker.nextNode()) {
        const element = walker.currentNode.parentElement;
        if (!walker.currentNode.textContent.trim() || element.closest("svg, script")) continue;
        if (!element.checkVisibility()) continue;
        const pair = [channels(getComputedStyle(element).color), ground(element)].map(luminance);
        const ratio = (Math.max(...pair) + 0.05) / (Math.min(...pair) + 0.05);
        found.push([ratio, element.outerHTML.slice(0, 200)]);
    }
    return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_has_contrast(browser, scheme):
    """At least 4.5 : 1, WCAG 2.2 AA (1.4.3), over every shade."""
    browser.open(scheme=scheme)
    found = browser.run(CONTRASTS)
    assert len(found) > 200
    assert min(found) >= [4.5, ""], min(found)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_curves_have_contrast(browser, scheme):
    """At least 3 : 1 of what is no text, WCAG 2.2 AA (1.4.11)."""
    browser.open(scheme=scheme)
    colours = browser.run(
        "const probe = document.createElement('p'); document.body.append(probe);"
        "return [...Array(8).keys()].map((index) => { probe.style.color = `var(--c${index})`;"
        "return getComputedStyle(probe).color; }).concat(getComputedStyle(document.documentElement).backgroundColor)"
    )
    *lines, paper = [[int(part) for part in colour.strip("rgb()").split(",")] for colour in colours]
    for line in lines:
        bright, dim = sorted((luminance(line), luminance(paper)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 3, line


def luminance(colour: list[int]) -> float:
    """WCAG 2.2's relative luminance of sRGB."""
    shares = [value / 255 for value in colour]
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize(("size", "scheme"), list(itertools.product((PHONE, DESKTOP), HUE)))
def test_screenshots(browser, size, scheme, tmp_path):
    browser.open(size, scheme)
    shot = browser.picture()
    shot.save(tmp_path / f"{size[0]}-{scheme}.png")
    assert shot.size == size
    assert shot.getpixel((2, 2))[0] == HUE[scheme]
    assert len(shot.getcolors(1 << 24)) > 50
    (picture,) = browser.all("#pictures img")
    assert browser.run("return arguments[0].complete && arguments[0].naturalWidth", picture) == 900


def test_on_paper_there_is_all_of_it_and_no_controls(browser):
    browser.open(media="print", scheme="dark")
    assert not browser.find("#filters").is_displayed()
    assert not browser.find("nav").is_displayed()
    assert browser.find("#privacy .scroll").value_of_css_property("overflow") == "visible"
    assert browser.run("return getComputedStyle(document.documentElement).backgroundColor") == "rgb(255, 255, 255)"
