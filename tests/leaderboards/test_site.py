"""The site: every link leads somewhere, nothing is asked of others, an earlier site goes when the new one is whole."""

import posixpath
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from bench.base.errors import BadInputError
from bench.runs import site as sites
from leaderboards.decision import Measured
from leaderboards.site import build, markdown
from leaderboards.site.standing import Published, hits, leader, stands

ROOT = Path(__file__).parents[2]


class Links(HTMLParser):
    """Addresses that a page names, the names within it, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.names: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        found = dict(attrs)
        self.addresses += [found[name] for name in ("href", "src") if found.get(name)]
        self.names |= {found["id"]} if found.get("id") else set()


@pytest.fixture(scope="module")
def published(whole_matrix, make_boards):
    found = make_boards(whole_matrix, seeds=3)
    return [Published(found, Measured.from_leaderboard(found))]


@pytest.fixture(scope="module")
def pages(published):
    docs = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in sorted((ROOT / "docs").glob("*.md"))}
    claims = {
        path.relative_to(ROOT).as_posix(): path.read_bytes() for path in (ROOT / "results/claims").glob("*.[mt]*")
    }
    papers = {
        "results/papers/README.md": b"# Papers\n\n[one](a/table.md) and [defenses](../../docs/defenses.md#krum)\n",
        "results/papers/a/table.md": b"# A\n\n![plot](plot.png)\n",
        "results/papers/a/plot.png": b"png",
        "CHANGELOG.md": b"# Changes\n",
        "docs/pictures/front.svg": b"<svg/>",
    }
    return build(published, {**docs, **claims, **papers}, "1.0")


def test_every_link_leads_to_a_page_of_the_site(pages):
    links = {place: Links(content.decode()) for place, content in pages.items() if place.endswith(".html")}
    checked = 0
    for place, found in links.items():
        for address in found.addresses:
            path, _, name = address.partition("#")
            if re.match(r"[a-z]+:", address):
                continue
            target = posixpath.normpath(posixpath.join(posixpath.dirname(place), path)) if path else place
            assert target in pages, (place, address)
            if name and target in links:
                assert name in links[target].names, (place, address)
            checked += 1
    assert checked > 1000


def test_a_claim_s_card_is_there_to_be_read(pages):
    assert '<a href="signguard-stands-alie.toml">' in pages["claims/claims.html"].decode()
    assert b"title = " in pages["claims/signguard-stands-alie.toml"]
    assert 'href="../claims/claims.html#signguard-stands-alie"' in pages["defenses/signguard.html"].decode()


def test_no_page_asks_others_for_anything(pages):
    for place, content in pages.items():
        if place.endswith((".html", ".css")):
            text = content.decode()
            assert not re.search(r'(src|action|srcset)="(?!data:)[a-z]+:', text), place
            assert not re.search(r"url\((?!['\"]?data:)|@import", text), place
            assert "<script src" not in text
            assert place.endswith(".css") or "default-src 'none'" in text, place


def test_every_defense_and_attack_has_a_page_and_every_suite_a_card(pages):
    from bench import registry

    for kind in ("defense", "attack"):
        for name in registry.names(kind):
            if registry.get(kind, name).__module__ == f"{kind}s.{name}":
                page = pages[f"{kind}s/{name}.html"].decode()
                assert f'name = "{name}"' in page.replace("&#34;", '"').replace("&quot;", '"')
                assert "How to use it" in page
    assert 'href="boards/tiny.html"' in pages["index.html"].decode()
    assert "boards/tiny.html" in pages


def test_the_page_of_a_defense_has_its_rows_and_its_formula(pages):
    page = pages["defenses/krum.html"].decode()
    assert "<math" in page or 'class="formula"' in page
    assert "from defenses.krum import krum" in page


def test_a_defense_stands_where_its_rows_are_and_behind_what_goes_before(make, make_boards):
    wrapped = {"rule": "krum", "parameters": {}}
    found = make_boards(
        [make("krum"), make("krum", "sign_flip", accuracy=0.3), make("nnm", defense=wrapped), make("median")]
    )
    one = Published(found, Measured.from_leaderboard(found))
    assert {stand.row for stand in stands("krum", [one])} == {"krum", "nnm"}
    (hit,) = hits("sign_flip", [one])
    assert (hit.row, hit.breaks, hit.text) == ("krum", True, "30.0 % accuracy, 90.0% without an attack")


def test_who_learns_little_leads_no_card(make, make_boards):
    records = [make("krum", accuracy=0.3), make("krum", "sign_flip", accuracy=0.3)]
    records += [make("median", accuracy=0.9), make("median", "sign_flip", accuracy=0.2)]
    found = make_boards(records)
    assert leader(Published(found, Measured.from_leaderboard(found)))[:2] == ("robustness", "median")


def test_markdown_has_anchors_formulas_and_links_of_the_site():
    links = '[d](defenses.md#krum), [c](../results/s/leaderboard.csv "t"), [no](../x.py), [d](defenses.md)'
    text = f"# A `b_c`\n\n<!-- list models -->\n$x_1$ costs 5 $ and `$y$`; {links}\n"
    shown = markdown.render(text, "docs/a.md", {"docs/defenses.html", "boards/s.html"})
    assert '<h1 id="a-b_c">' in shown
    assert "<!--" not in shown
    assert ("<math" in shown) or ('<code class="formula">x_1</code>' in shown)
    assert "<code>$y$</code>" in shown
    assert '<a href="defenses.html#krum">d</a>' in shown
    assert '<a href="../boards/s.html" title="t">c</a>' in shown
    assert "<span>no</span>" in shown


@pytest.fixture
def some_pages(monkeypatch):
    monkeypatch.setattr(sites, "_files", lambda folder: {})
    return {"index.html": b"new", "a/b.html": b"b"}


def test_a_site_replaces_an_earlier_one_whole(some_pages, tmp_path):
    output = tmp_path / "site"
    sites._write(output, {"index.html": b"old", "gone.html": b"x"})
    sites._check(output)
    sites._write(output, some_pages)
    there = {path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file()}
    assert there == {"index.html", "a/b.html", sites.MARKER}
    assert (output / "index.html").read_bytes() == b"new"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_nothing_of_an_earlier_site_is_touched_where_the_new_one_cannot_be_written(some_pages, tmp_path):
    output = tmp_path / "site"
    sites._write(output, {"index.html": b"old"})
    with pytest.raises(BadInputError, match="cannot write"):
        sites._write(output, {**some_pages, "index.html/under": b"a file in the way"})
    assert (output / "index.html").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["site"]


def test_bad_input_is_told_in_one_line(tmp_path, monkeypatch):
    from bench.cli import app

    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("x")
    (tmp_path / "empty").mkdir()
    cases = {
        ("--output", "file"): r"--output file is a file: give a new folder",
        ("--output", "mine"): r"--output mine holds other files: give a new folder, or that of an earlier site",
        ("--output", "new", "--results", "nowhere"): r"--results nowhere is no folder",
        ("--output", "new", "--results", "empty"): r"no records of a shipped suite in empty: run `fedsiege run",
    }
    for arguments, expected in cases.items():
        found = CliRunner().invoke(app, ["site", *arguments])
        assert isinstance(found.exception, BadInputError), arguments
        assert re.search(expected, str(found.exception)), arguments
        assert "\n" not in str(found.exception)
    assert not (tmp_path / "new").exists()
    assert (tmp_path / "mine" / "thesis.txt").exists()
