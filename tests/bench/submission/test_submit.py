"""`submit`: from a file to a row and a folder; resuming, changed sources, marked rows, attacks, reported numbers."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import suite
from bench.base.errors import BadInputError
from bench.records import Store, read
from bench.records.submissions import Examination, Finding, submitted
from bench.runs import jobs
from bench.submission import folder as folders
from bench.submission import submit as submit_module
from bench.submission.package import Entry, Source, read_source, registered_kind
from bench.submission.submit import Report, Request, reported, submit
from leaderboards.board import Leaderboard
from leaderboards.boards import build
from leaderboards.frame import select

pytestmark = pytest.mark.integration

HERE = Path(__file__).parent
PUBLISHED = HERE.parents[2] / "results" / "smoke" / "fedavg"
PHOCAS = HERE.parents[2] / "docs" / "examples" / "phocas.py"
ROWS = """
[[defense]]
name = "median"

[[attack]]
name = "sign_flip"
byzantine = [0.2]
"""

Bench = Callable[..., Any]


@pytest.fixture
def folder(tmp_path: Path, tiny_suite: Callable[..., str]) -> Path:
    (tmp_path / "tiny.toml").write_text(tiny_suite(ROWS, assumed_byzantine=0.2))
    (tmp_path / "phocas.py").write_bytes(PHOCAS.read_bytes())
    return tmp_path


def records(place: Path) -> list[Path]:
    return sorted(place.glob("*/*.json"))


SUBMIT = ("submit", "phocas.py", "--suite", "tiny.toml", "--workers", "1")


@pytest.mark.usefixtures("seen_once")
def test_from_file_to_row_and_again(bench: Bench, folder: Path) -> None:
    done = bench(*SUBMIT)
    assert done.code == 0
    assert "this runs the code of phocas.py" in done.err
    assert "Read the file first" in done.err
    assert "  ok      determinism: " in done.out
    assert "│ phocas" in done.out
    row = folder / "results" / "tiny" / "phocas"
    assert len(records(row)) == 2
    assert [path.name for path in row.parent.iterdir()] == ["phocas"]  # boards are others' to publish
    assert (row / "phocas.py").read_bytes() == PHOCAS.read_bytes()
    submission = reported(row)
    assert submission is not None
    assert (submission.name, submission.suite, submission.paper.title) == ("phocas", "tiny", "")
    examination = folders.examination(row)
    assert examination is not None
    assert (examination.broken, examination.sha256) == ([], submission.sha256)
    before = {path: path.stat().st_mtime_ns for path in records(row)}

    filled = (row / folders.FILE).read_text().replace('title = ""', 'title = "Phocas"')
    (row / folders.FILE).write_text(filled)
    again = json.loads(bench(*SUBMIT, "--json").out)
    assert (again["ran"], again["failed_or_diverged"]) == (0, 0)
    assert {path: path.stat().st_mtime_ns for path in records(row)} == before
    assert (row / folders.FILE).read_text() == filled

    (folder / "phocas.py").write_bytes(PHOCAS.read_bytes() + b"\n# another source\n")
    changed = bench(*SUBMIT)
    assert "files of an earlier source or other parameters removed" in changed.out
    assert "2 cells run, 0 were there" in changed.out
    assert changed.out.count("Submissions: ") == 1
    assert "A row that breaks a rule of the" not in changed.out  # what the boards' marks mean is for --all
    whole = bench(*SUBMIT, "--all")
    assert "A row that breaks a rule of the" in " ".join(whole.out.split())
    assert 'title = "Phocas"' in (row / folders.FILE).read_text()


@pytest.mark.slow
def test_what_breaks_the_contract_runs_only_when_asked_and_is_marked(bench: Bench, folder: Path) -> None:
    (folder / "order_dependent.py").write_bytes((HERE / "broken" / "order_dependent.py").read_bytes())
    command = ("submit", "order_dependent.py", "--suite", "tiny.toml", "--workers", "1")
    refused = bench(*command)
    assert refused.code == 1
    assert "BROKEN  permutation of clients" in refused.out
    assert "nothing was run" in refused.out
    assert not (folder / "results").exists()

    marked = bench(*command, "--anyway")
    assert marked.code == 1
    assert len(records(folder / "results" / "tiny" / "order_dependent")) == 2
    board = jobs.make_leaderboard(suite.load(str(folder / "tiny.toml")), Store(folder / "results", "tiny"))
    (flag,) = [note for note in board.flags["order_dependent"] if "contract" in note]
    assert flag.startswith("breaks the contract (permutation of clients): the model depends on the order")


@pytest.mark.slow
def test_an_attack_is_an_evaluation_of_a_row(bench: Bench, folder: Path, loud: str) -> None:
    (folder / "loud.py").write_text(loud)
    done = bench(
        *("submit", "loud.py", "--suite", "tiny.toml", "--workers", "1", "--quiet"),
        *("--against", "median", "--byzantine", "0.2", "--set", "times=30"),
    )
    assert done.code == 0
    row = folder / "results" / "tiny" / "median"
    submission = reported(row / "loud")
    assert submission is not None
    assert (submission.kind, submission.parameters, submission.against) == ("attack", {"times": 30}, ("median",))
    assert {path.parent.name for path in records(row)} == {"clean", "loud"}


@pytest.mark.usefixtures("seen_once")
def test_check_only_writes_nothing(bench: Bench, folder: Path) -> None:
    done = bench(*SUBMIT, "--check-only", "--json")
    found = json.loads(done.out)
    assert (done.code, found["ran"], found["folders"]) == (0, 0, [])
    assert {finding["verdict"] for finding in found["findings"]} == {"passed"}
    assert not (folder / "results").exists()


@pytest.mark.usefixtures("inspected_here")
@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--set", "b"), "not of the form key=value"),
        (("--set", "lr=[0.1, 0.2]"), "must be one plain value"),
        (("--set", "lr=nan"), "must be one plain value"),
        (("--set", "trim=0.1"), "no parameter to --set named 'trim'"),
        (("--against", "median"), "--against and --byzantine are for attacks"),
        (("--suite", "absent"), "no suite named 'absent'"),
    ],
)
def test_bad_input_is_one_line(bench: Bench, folder: Path, more: tuple[str, ...], words: str) -> None:
    done = bench(*SUBMIT, *more)
    assert done.code == 2
    assert words in done.err.splitlines()[-1]
    assert not (folder / "results").exists()


@pytest.mark.usefixtures("inspected_here")
def test_a_taken_name_is_refused(folder: Path) -> None:
    krum = folder / "krum.py"
    krum.write_text(PHOCAS.read_text().replace('"phocas"', '"krum"'))
    with pytest.raises(BadInputError, match=r"'krum' is taken by defenses\.krum"):
        submit(Request(str(krum), str(folder / "tiny.toml"), folder / "results"), lambda line: None)


@pytest.mark.usefixtures("seen_once")
def test_records_of_somebody_else_are_left_alone(folder: Path) -> None:
    place = folder / "results" / "tiny" / "phocas" / "clean"
    place.mkdir(parents=True)
    (place / "0123456789ab-s0.json").write_text("{}")
    request = Request(str(folder / "phocas.py"), str(folder / "tiny.toml"), folder / "results", workers=1)
    with pytest.raises(BadInputError, match=r"has records and no submission\.toml"):
        submit(request, lambda line: None)
    assert (place / "0123456789ab-s0.json").read_text() == "{}"


# ------------------------------------------------------------------------------------------- what the authors report


@pytest.fixture
def row(tmp_path: Path) -> Path:
    """The folder of a row of the suite smoke, as a submission of phocas leaves it, but for the records."""
    source, place = read_source(str(PHOCAS)), tmp_path / "smoke" / "phocas"
    place.mkdir(parents=True)
    facts = {"kind": "defense", "name": "phocas", "class_name": "Phocas", "suite": "smoke"}
    submission = folders.Submission(schema_version=1, source=source.path.name, sha256=source.digest, **facts)
    folders.write(place, source, submission, Examination(sha256=source.digest, network="none", findings=[]))
    return place


def board_of(row: Path, said: str) -> Leaderboard:
    text = (row / folders.FILE).read_text()
    (row / folders.FILE).write_text(text.partition("\n[paper]")[0] + said)
    published = read(next((PUBLISHED / "sign_flip").glob("*.json")))
    mine = published.model_copy(update={"cell": published.cell.model_copy(update={"label": "phocas"})})
    return build("smoke", "t", 1, select([mine]), submissions=submitted(row.parent))


SAID = """
[paper]
title = "Phocas"
authors = ["Cong Xie", "Oluwasanmi Koyejo", "Indranil Gupta"]
year = 2018

[[reported]]
column = "sign_flip b=0.4"
value = 0.61
setting = "made up for this test"
where = "Table 0"

[[reported]]
metric = "loss"
value = 0.25
"""


def test_the_authors_numbers_stand_beside_ours(row: Path) -> None:
    leaderboard = board_of(row, SAID)
    (accuracy,) = [record.metrics["accuracy"] for record in leaderboard.evidence]
    board = leaderboard.boards[-1]
    first, second = board.text.to_dict("records")
    assert first["paper"] == "Cong Xie et al., 2018, Phocas"
    assert first["reported"] == "accuracy 0.61 (made up for this test, Table 0)"
    assert first["measured"] == f"{accuracy:.4g} (sign_flip b=0.4)"
    assert (second["reported"], second["measured"]) == ("loss 0.25", "–")
    long = board.data.set_index("metric")["mean"]
    assert long["reported_accuracy"] == 0.61
    assert leaderboard.flags == {}


def test_a_damaged_submission_is_left_out_and_told(row: Path) -> None:
    leaderboard = board_of(row, '\n[paper]\ntitel = "Phocas"\n')
    assert "submissions" not in [board.name for board in leaderboard.boards]
    (line,) = leaderboard.left_out
    assert "submission.toml: paper.titel" in line


def test_another_source_than_the_submitted_one_is_flagged(row: Path) -> None:
    with (row / "phocas.py").open("a") as file:
        file.write("# changed\n")
    (note,) = board_of(row, SAID).flags["phocas"]
    assert "is not the source that was submitted" in note


def test_a_broken_contract_is_told_in_one_line_where_nothing_else_is(
    bench: Bench, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Finding(rule="permutation of clients", verdict="failed", sentence="the model depends on the order.")
    found = Examination(sha256="0" * 64, network="none", findings=[broken])
    monkeypatch.setattr(
        submit_module, "submit", lambda request, tell: Report(Entry("defense", "phocas", "Phocas"), found, [])
    )
    done = bench(*SUBMIT, "--quiet")
    assert (done.code, done.out) == (1, "")
    assert done.err.splitlines()[1:] == [
        "fedsiege: phocas.py breaks the contract: permutation of clients: the model depends on the order."
    ]
    told = bench(*SUBMIT, "--json")
    assert json.loads(told.out)["findings"][0]["rule"] == "permutation of clients"


@pytest.mark.parametrize(
    ("file", "more", "told"),
    [
        ("loud.py", (), "an attack needs --against ROW, the row to run it against, and --byzantine B where it forges"),
        ("loud.py", ("--against", "medain", "--byzantine", "0.2"), "no row in suite 'tiny' named 'medain'"),
        ("loud.py", ("--against", "median", "--byzantine", "1.5"), "--byzantine is 1.5, but must be above 0 and at"),
        (
            "phocas.py",
            ("--against", "median"),
            "--against and --byzantine are for attacks, and this file has a defense",
        ),
        ("phocas.py", ("--data", "nowhere"), "nowhere is not a directory: set FEDSIEGE_DATA or --data"),
        ("phocas.py", ("--set", "lr"), "--set 'lr' is not of the form key=value"),
    ],
)
def test_options_are_refused_before_any_process_is_started(
    bench: Bench, folder: Path, loud: str, monkeypatch: pytest.MonkeyPatch, file: str, more: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr(submit_module, "inspected", lambda *_: pytest.fail("a process was started"))
    (folder / "loud.py").write_text(loud)
    text = (folder / "tiny.toml").read_text()
    (folder / "tiny.toml").write_text(text.replace('"digits"', '"mnist"') if "--data" in more else text)
    done = bench("submit", file, "--suite", "tiny.toml", *more)
    assert (done.code, done.out) == (2, "")
    _, line = done.err.splitlines()
    assert told in line
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('@register("attack", "a")\nclass A: ...', "attack"),
        ('@register("defense", "a")\nclass A: ...', "defense"),
        ('@register("defense", "a")\nclass A: ...\n@register("attack", "b")\nclass B: ...', None),
        ("class A: ...", None),
        ("def f(:", None),
        ("\0", None),
    ],
)
def test_the_kind_of_a_file_is_read_without_running_it(source: str, kind: str | None) -> None:
    assert registered_kind(Source(Path("a.py"), source.encode())) == kind
