"""The page as a file: the numbers of the CSV, escaped, closed to the outside, and the same whenever it is made."""

import base64
import csv
import gzip
import hashlib
import io
import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from bench.cli import app
from bench.privacy.claims import PrivacyClaim
from bench.records import Environment, Privacy, Record, Store, now, setting_hash
from bench.runs.jobs import make_leaderboard
from bench.suite import load
from leaderboards.board import Leaderboard, Picture
from leaderboards.boards import build
from leaderboards.formats import FORMATS
from leaderboards.frame import select
from leaderboards.html import charts, glossary, html
from leaderboards.html.threats import shared

NASTY = """</script><script>alert("x")</script><img src=x onerror=alert(1)> & 'a' {{ 7*7 }} \u2028 <!--"""


class Page(HTMLParser):
    """What a browser would find: every tag with its attributes, the texts of cells, the content of scripts by id."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: dict[str, str] = {}
        self.cells: dict[tuple[str, str, str], dict[str, str | None]] = {}
        self.text: list[str] = []
        self._table = self._row = ""
        self._cell: dict[str, str | None] | None = None
        self._script: str | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if tag == "table":
            self._table = (found.get("id") or "").removeprefix("table-")
        if tag == "tr":
            self._row = found.get("data-row") or ""
        if tag == "td":
            self._cell = {**found, "text": ""}
            if "data-column" in found:
                self.cells[self._table, self._row, found["data-column"]] = self._cell
        if tag in ("script", "style"):
            self._script = found.get("id") or tag
            self.scripts[self._script] = ""
        if self._cell is not None and "data-place" in found:
            self._cell["place"] = found["data-place"]

    def handle_endtag(self, tag):
        if tag == "td":
            self._cell = None
        if tag in ("script", "style"):
            self._script = None

    def handle_data(self, data):
        if self._script is not None:
            self.scripts[self._script] += data
            return
        self.text.append(data)
        if self._cell is not None:
            self._cell["text"] = f"{self._cell['text']}{data}"

    @property
    def evidence(self) -> dict:
        return json.loads(gzip.decompress(base64.b64decode(self.scripts["data"])))

    def attributes(self, name: str) -> list[str]:
        return [found[name] or "" for _, found in self.tags if name in found]


@pytest.fixture(scope="module")
def leaderboard(whole_matrix, make_boards):
    return make_boards(whole_matrix, seeds=3)


@pytest.fixture(scope="module")
def page(leaderboard):
    return Page(html(leaderboard))


# ------------------------------------------------------------------------------------------------------- one source


def test_the_panel_has_every_number_of_the_csv(leaderboard, page):
    lines = [line for line in csv.DictReader(io.StringIO(FORMATS["csv"](leaderboard))) if line["column"]]
    measured = [line for line in lines if line["defense"] in page.evidence["places"]]
    assert len(measured) > 30
    for line in measured:
        places = page.evidence["places"][line["defense"]].get(line["column"])
        if places is None:  # a number without a record: no run of that cell
            assert line["mean"] == ""
            continue
        shown = [one for one in places["numbers"] if (one["board"], one["metric"]) == (line["board"], line["metric"])]
        assert len(shown) == 1
        for part in ("mean", "half_width", "low", "high", "seeds", "failed"):
            assert shown[0].get(part, "") == line[part], (line, part)


def test_tables_have_the_texts_of_the_markdown(leaderboard, page):
    for board in leaderboard.boards:
        for line in board.text.to_dict(orient="records"):
            for column in set(line) & {column for _, _, column in page.cells}:
                if not line["defense"].startswith("control"):
                    found = page.cells[board.name, line["defense"], column]
                    assert found["text"].replace(" ", "") == line[column].replace(" · ", "", 1).replace(" ", "")


def test_a_cell_sorts_and_ranks_by_the_number_of_the_long_format(leaderboard, page):
    data = next(board for board in leaderboard.boards if board.name == "robustness").data
    for line in data[data["metric"] == "accuracy"].to_dict(orient="records"):
        found = page.cells["robustness", line["defense"], line["column"]]
        expected = 0.0 if line["failed"] else line["mean"]
        assert float(found["data-score"]) == float(found["data-key"]) == expected
        assert f"shade-{round(10 * expected)}" in found["class"].split()


def test_every_cell_leads_to_its_records(page, whole_matrix):
    for (_, row, column), cell in page.cells.items():
        if row and cell["text"] != "–":
            assert json.loads(cell["place"]) == [row, column]
            found = page.evidence["places"][row][column]
            mine = [one for one in whole_matrix if (one.cell.label, one.cell.column) == (row, column)]
            assert [one["seed"] for one in found["records"]] == sorted(one.seed for one in mine)
            assert {one["file"] for one in found["records"]} == {f"{one.key}.json" for one in mine}
    kinds = {name for name, _, _ in page.cells}
    assert kinds == {"robustness", "privacy", "noise", "audits"}


def test_what_stands_for_several_columns_leads_to_the_worst(page):
    leads = {tuple(json.loads(place)) for place in page.attributes("data-place")}
    assert ("noisy", "sign_flip b=0.4") in leads
    assert all(len(place) == 2 for place in leads)


# --------------------------------------------------------------------------------------------- closed to the outside


def test_it_asks_for_nothing(page):
    for name in ("src", "href", "data", "action", "poster", "srcset"):
        assert all(value.startswith(("data:", "#")) for value in page.attributes(name))
    assert "url(" not in page.scripts["style"]
    assert "@import" not in page.scripts["style"]
    for word in ("fetch(", "XMLHttpRequest", "import(", "http:", "https:", "innerHTML", "eval("):
        assert word not in page.scripts["script"]


def test_the_policy_allows_its_own_script_and_style_alone(page):
    policy = next(found["content"] for tag, found in page.tags if found.get("http-equiv") == "Content-Security-Policy")
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(page.scripts[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert not page.attributes("style")
    assert not [name for _, found in page.tags for name in found if name.startswith("on")]


@pytest.fixture
def nasty(make, make_leak, make_boards):
    void = Privacy(claimed=PrivacyClaim(epsilon=None, delta=None, unit="u", source=NASTY, reason=NASTY))
    failed = {"accuracy": None, "status": "failed", "error": NASTY}
    records = [make(NASTY, privacy=void, curve=[(1, 0.5)]), make(NASTY, "sign_flip", **failed), make_leak(NASTY)]
    found = make_boards(records, seeds=2)
    told = {
        "title": NASTY,
        "suite": NASTY,
        "asked_for": NASTY,
        "pictures": [Picture(NASTY, NASTY, NASTY, lambda: b"png")],
    }
    return replace(found, **told, left_out=[NASTY], environments=[NASTY], caveats=[NASTY])


def test_nothing_in_a_record_becomes_markup(nasty, page):
    found = Page(html(nasty))
    assert {tag for tag, _ in found.tags} <= {tag for tag, _ in page.tags} | {"img", "figure", "figcaption", "polyline"}
    assert [tag for tag, _ in found.tags].count("script") == 3
    assert not [name for _, attributes in found.tags for name in attributes if name.startswith("on")]
    records = found.evidence["places"][NASTY]["sign_flip b=0.2"]["records"]
    assert records[0]["error"] == NASTY
    assert NASTY in {text.strip() for text in found.text}
    assert "49" not in found.evidence["places"][NASTY]["clean"]["claims"]["claimed"]


@settings(max_examples=10)
@given(name=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=20).filter(str.strip))
def test_any_name_comes_through(make, make_boards, name):
    text = html(make_boards([make(name), make(name, "sign_flip")]))
    found = Page(text)
    assert name in found.evidence["places"]
    assert name in found.attributes("data-row")
    assert [tag for tag, _ in found.tags].count("script") == 3


# ------------------------------------------------------------------------------------------------------ always the same


def test_it_is_the_same_again_and_in_any_order(whole_matrix, make_boards):
    text = html(make_boards(whole_matrix, seeds=3))
    assert html(make_boards(whole_matrix, seeds=3)) == text
    assert html(make_boards(whole_matrix[::-1], seeds=3)) == text


def test_it_is_dated_by_its_newest_record(page, whole_matrix):
    newest = max(record.finished_at for record in whole_matrix)
    assert any(f"Version of {newest:%Y-%m-%d %H:%M} UTC, setting s." in text for text in page.text)


# ------------------------------------------------------------------------------------------------ any board has a page


def test_without_training_cells(make_leak, make_boards):
    found = Page(html(make_boards([make_leak("a"), make_leak("b", "collusion", 1.0)])))
    assert {name for name, _, _ in found.cells} == {"privacy"}
    assert "table-overall" in found.attributes("id")
    assert not {"pareto", "curves", "charts"} & set(found.attributes("id"))


def test_without_privacy_cells(make, make_boards):
    found = Page(html(make_boards([make("a", curve=[(1, 0.5)]), make("a", "sign_flip"), make("b")])))
    assert {name for name, _, _ in found.cells} == {"robustness"}
    assert "curves" in found.attributes("id")
    assert "pareto" not in found.attributes("id")


def test_with_nothing_but_failures(make, make_leak, make_boards):
    failed = {"status": "failed", "error": "no"}
    records = [make("a", accuracy=None, **failed), make("a", "sign_flip", accuracy=None, **failed)]
    records.append(make_leak("a").model_copy(update={**failed, "metrics": {}}))
    found = Page(html(make_boards(records)))
    assert found.cells["robustness", "a", "sign_flip b=0.2"]["text"] == "failed"
    assert found.evidence["places"]["a"]["dlg"]["records"][0]["status"] == "failed"


def test_without_records():
    assert "Skip to the boards" in html(Leaderboard("tiny", "nothing yet", 1, []))


def test_a_backdoor_sorts_by_its_success(make, make_boards):
    planted = make("a", "trigger", 0.4).model_copy(update={"metrics": {"accuracy": 0.9, "backdoor_success": 0.75}})
    found = Page(html(make_boards([make("a"), planted])))
    cell = found.cells["backdoor", "a", "trigger b=0.4"]
    assert cell["text"] == "75.0 (accuracy 90.0)"
    assert cell["data-key"] == "0.75"
    assert "shade-8" in cell["class"].split()


def test_a_wide_board_is_one_table(make, make_boards):
    attacks = [f"attack_{index}" for index in range(5)]
    records = [make(row, attack, b) for row in "xy" for attack in attacks for b in (0.1, 0.2)]
    board = make_boards(records)
    assert len([one for one in board.boards if one.name.startswith("robustness")]) > 1
    found = Page(html(board))
    assert {column for name, _, column in found.cells if name == "robustness"} == {
        f"{attack} b={b}" for attack in attacks for b in (0.1, 0.2)
    }
    assert not any("tables below" in text for text in found.text)


def test_a_large_board_is_below_one_and_a_half_megabytes(make, make_leak, make_boards):
    curve = [(at, 0.5) for at in range(1, 201)]
    rows = [f"defense_{index}" for index in range(30)]
    records = [make(row, accuracy=0.9, curve=curve) for row in rows]
    for row in rows:
        records += [make(row, f"attack_{index}", b / 5, 0.5, curve=curve) for index in range(4) for b in (1, 2, 3, 4)]
        records += [make_leak(row, "collusion", rho / 8) for rho in range(1, 9)]
    pictures = [Picture(f"p{index}", "large", "", lambda: bytes(30_000)) for index in range(40)]
    text = html(make_boards(records, pictures=pictures))
    assert 1_200_000 < len(text) < 1_500_000
    assert 0 < text.count("data:image/png") == 40 - text.count("Left out, so that the page stays small")


# ------------------------------------------------------------------------------------------------------------- commands


def record_of(suite, cell, seed):
    machine = Environment(
        fedsiege="0", python="3", torch="2", numpy="2", machine="m", device="cpu", threads=1, commit=None
    )  # fmt: skip
    common = {"suite": suite.name, "protocol": "p", "data_digest": "d", "setting": setting_hash(suite, "d")}
    return Record(**common, cell=cell, seed=seed, status="ok", environment=machine, finished_at=now())


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    suite, store = load("smoke").with_seeds((0, 3)), Store(tmp_path_factory.mktemp("smoke"), "smoke")
    for cell in suite.cells():
        for seed in (0, 3):
            store.write(record_of(suite, cell, seed))
    return suite, store


def test_the_command_plays_the_cell_again(smoke):
    suite, store = smoke
    places = Page(html(make_leaderboard(suite, store, "smoke"))).evidence["places"]
    cells = {(cell.label, cell.column): cell for cell in suite.cells()}
    assert sum(map(len, places.values())) == len(cells)
    for (row, column), cell in cells.items():
        words = shlex.split(places[row][column]["command"])
        assert words[:4] == ["python", "-m", "bench", "run"]
        options = dict(zip(words[4::2], words[5::2], strict=True))
        assert options.pop("--suite") == "smoke"
        assert options.pop("--seeds") == "0,3"
        assert options.pop("--results") == "rerun"
        played = suite.cells([options.pop("--defense")], [options.pop("--attack")])
        assert cell.hash in {one.hash for one in played}
        assert not options


def test_records_that_the_suite_would_not_make_have_no_command(smoke):
    _, store = smoke
    changed = load("smoke", ["rounds=11"])
    places = Page(html(make_leaderboard(changed, store))).evidence["places"]
    assert {found["command"] for row in places.values() for found in row.values()} == {""}


def test_the_path_is_that_of_the_record(smoke):
    suite, store = smoke
    places = Page(html(make_leaderboard(suite, store))).evidence["places"]
    everything = [found for row in places.values() for found in row.values()]
    paths = [f"{found['folder']}/{record['file']}" for found in everything for record in found["records"]]
    assert len(paths) == 2 * len(suite.cells())
    assert all((store.folder.parents[1] / path).is_file() for path in paths)


def test_the_command_line_writes_it(smoke, tmp_path):
    target = tmp_path / "board.html"
    command = ["leaderboard", "--suite", "smoke", "--results", str(smoke[1].folder.parent), "--format", "html"]
    done = CliRunner().invoke(app, [*command, "--output", str(target)])
    assert done.exit_code == 0, done.output
    assert target.read_text().startswith("<!doctype html>")


# --------------------------------------------------------------------------------------------------- parts of the page


def test_a_point_of_the_plot_stands_at_its_scores(leaderboard, page):
    points = [found for tag, found in page.tags if tag == "circle"]
    scores = {board.name: board.standing.scores for board in leaderboard.boards}
    left, top, right, bottom = charts.PLOT_MARGINS
    expected = [
        (
            left + (charts.PLOT[0] - left - right) * scores["privacy"][row],
            top + (charts.PLOT[1] - top - bottom) * (1 - scores["robustness"][row]),
        )
        for row in ("bare", "noisy")
    ]
    assert [(float(point["cx"]), float(point["cy"])) for point in points] == [
        pytest.approx(place, abs=0.05) for place in expected
    ]


def test_every_flag_is_explained(make, make_leak, make_audit, make_claim, make_boards):
    claimed = make_claim(10.0, colluders=0.5)
    failed = {"accuracy": None, "status": "failed", "error": "no"}
    records = [make("a", accuracy=0.5 + seed / 100, seed=seed) for seed in range(3)]
    records += [make("a", "sign_flip", 0.4, 0.9, seed=seed) for seed in range(3)]
    records += [make("a", "gaussian", 0.4, **failed), make("a", "alie", 0.4, **{**failed, "status": "diverged"})]
    records += [make_leak("a", control=0.0), make("b", federation={"oracle_f": True})]
    records += [make_audit("a", 30.0, claimed=claimed), make_audit("a", 40.0, 1.0, claimed=claimed)]
    none = {"clients": 2, "most": 0, "beyond_f": 0, "absent": 5}
    records.append(make("b", "ipm", byzantine=none, federation={"oracle_f": True}))
    here = records[0].environment
    for seed, device, arithmetic in ((1, "cpu", "native"), (2, "cuda: H200", "portable")):
        made = here.model_copy(update={"device": device, "arithmetic": arithmetic})
        records.append(make("b", seed=seed, environment=made, federation={"oracle_f": True}))
    board = make_boards(records, seeds=3, federation=records[0].cell.federation)
    found = [glossary.explained(note) for notes in board.flags.values() for note in notes]
    elsewhere = {"breaks the contract", "contract not examined", "source changed"}  # of files of somebody else's
    elsewhere |= {"sensitive to rounding", "saved by the task"}  # of `verified.json`; of rows that met nothing else
    assert {flag.name for flag in found} == {name for _, name, _ in glossary.FLAGS} - elsewhere
    page = Page(html(board))
    for meaning in glossary.kinds(found).values():
        assert meaning in page.text
    assert glossary.explained("something new") == glossary.Flag("note", "something new", "")


def test_a_table_is_one_for_a_screen_reader(page):
    tables = [found for tag, found in page.tags if tag == "table"]
    tags = [tag for tag, _ in page.tags]
    assert tags.count("caption") == len(tables) == 7
    notes = {found.get("id") for tag, found in page.tags if tag == "p"}
    assert {found["aria-describedby"] for found in tables} <= notes
    assert all(found.get("scope") in ("col", "row") for tag, found in page.tags if tag == "th")
    assert len(set(page.attributes("id"))) == len(page.attributes("id"))
    anchors = {value[1:] for tag, found in page.tags if tag == "a" and (value := found["href"])}
    assert anchors <= set(page.attributes("id"))


def test_colours_of_the_charts_are_defined_for_both_schemes(page):
    light, dark = page.scripts["style"].split("@media (prefers-color-scheme: dark)", 1)
    for name in re.findall(r"var\((--[\w-]+)\)", page.scripts["style"]):
        assert name == "--share" or (f"{name}:" in light and f"{name}:" in dark.split("* {")[0])


# ----------------------------------------------------------------------------------------------- evaluations by others


def test_a_column_of_somebody_elses_attack_is_marked_as_one(make, make_boards):
    suites = [make("krum"), make("krum", "sign_flip", 0.2), make("median"), make("median", "sign_flip", 0.2)]
    stronger = make("krum", "loud", 0.2, accuracy=0.1)
    selection = select([*suites, stronger], cells=[record.cell for record in suites])
    threats = json.loads(Page(html(build("tiny", "t", 1, selection))).scripts["threats"])
    assert {column: threat["extra"] for column, threat in threats.items()} == {
        "clean": False,
        "loud b=0.2": True,
        "sign_flip b=0.2": False,
    }


@pytest.mark.parametrize(
    ("note", "name"),
    [
        ("breaks the contract (permutation of clients): the model depends on the order.", "breaks the contract"),
        ("evaluation loud: breaks the contract (determinism): two runs differ.", "breaks the contract"),
        ("its contract was not examined", "contract not examined"),
        ("the source is not what was submitted: x.py is another", "source changed"),
    ],
)
def test_flags_of_submissions_explain_themselves(note, name):
    flag = glossary.explained(note)
    assert flag.name == name
    assert len(flag.meaning) > 30


# --------------------------------------------------------------------------------------- what no filter has to choose


def test_the_head_says_what_all_rows_share(make, make_leak, make_boards):
    dirichlet = {"partition": "dirichlet", "alpha": 0.5, "participation": 0.5}
    records = [make("krum", federation=dirichlet), make("median", federation=dirichlet), make_leak("krum")]
    assert shared(records) == {
        "data set": "digits",
        "partition": "dirichlet (alpha 0.5)",
        "model": "softmax",
        "clients": "10, 5 of them a round",
        "rounds": "5",
        "Byzantine share that defenses assume": "0.4",
    }
    assert "partition: dirichlet (alpha 0.5)" in "".join(Page(html(make_boards(records))).text)


def test_the_head_says_how_alike_the_clients_data_is(make):
    records = [make("krum", federation={"partition": "similarity", "similarity": 0.25})]
    assert shared(records)["partition"] == "similarity (25% alike)"


def test_what_differs_between_rows_is_not_said(make):
    records = [make("krum", federation={"assumed_byzantine": 0.2}), make("median")]
    assert "Byzantine share that defenses assume" not in shared(records)
    assert shared([]) == {}
