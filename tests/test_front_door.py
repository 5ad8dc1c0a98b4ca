"""What a newcomer meets: pages that say for whom they are, no sentence that readers stumbled over, formulas."""

import re
import tomllib
from pathlib import Path
from typing import get_args

import pytest

from leaderboards.site.build import FOLDERS, Kind, own, shipped, told

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").glob("*.md"))
STUMBLED = (
    "stand flipped", "do not fade as", "inside both claims", "private bit is not", "leave nothing", "one factor s",
    "alike for all rules", "lost its ground", "adversary tells in", "detour over the CPU", "a client and round",
    "Of batches of eight",
)  # fmt: skip
"""Parts of sentences that readers of an older README did not understand."""
WRITTEN = (".md", ".py", ".toml", ".jinja", ".js")


def test_the_pages_are_there() -> None:
    assert len(PAGES) > 20


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_says_for_whom_it_is(page: Path) -> None:
    lines = [line for line in page.read_text().splitlines()[1:] if line]
    assert lines[0].startswith("For ")


@pytest.mark.parametrize("text", STUMBLED)
def test_a_sentence_that_readers_stumbled_over_is_gone(text: str) -> None:
    folders = [ROOT / name for name in ("attacks", "bench", "defenses", "docs", "leaderboards")]
    files = [ROOT / "README.md", *(path for folder in folders for path in folder.rglob("*") if path.suffix in WRITTEN)]
    assert len(files) > 300
    assert [path.name for path in files if text.lower() in path.read_text().lower()] == []


def test_the_install_line_names_the_wheel_of_this_version() -> None:
    """No package index has the name: a line that asks one for it would install nothing, or a stranger's package."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"dist/fedsiege-{version}-py3-none-any.whl" in (ROOT / "docs" / "tutorial-use.md").read_text()
    for page in (ROOT / "README.md", ROOT / "docs" / "tutorial-use.md", ROOT / "docs" / "getting-started.md"):
        assert not re.search(r"pip install fedsiege\b(?!-)", page.read_text()), page.name


@pytest.mark.parametrize("kind", get_args(Kind))
def test_every_part_has_a_formula_on_its_page(kind: Kind) -> None:
    """In its docstring, in the documentation, or in the site's own list, which has none for a part that is gone."""
    path = ROOT / "docs" / f"{FOLDERS[kind]}.md"
    files = {f"docs/{path.name}": path.read_bytes()}
    names = shipped(kind)
    said = {name: told(kind, name, files, {f"docs/{FOLDERS[kind]}.html"}) for name in names}
    assert [name for name, text in said.items() if not re.search('<pre>|<math|class="formula"', text)] == []
    assert set(tomllib.loads(own("formulas.toml"))[kind]) <= set(names)
