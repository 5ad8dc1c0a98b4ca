"""The one reader of a results folder: records where they belong, one line about all else, the same to all who ask."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import bench
from bench import suite
from bench.base.errors import BadInputError
from bench.records import Record, Store, contents, read, verified
from bench.records.folder import files
from bench.records.submissions import EXAMINATION, FILE
from bench.runs.jobs import make_leaderboard
from bench.submission.verify import Verification, verify

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke"


@pytest.fixture
def smoke(tmp_path: Path) -> Path:
    """A copy of the published records of two rows."""
    for row in ("fedavg", "krum"):
        shutil.copytree(PUBLISHED / row, tmp_path / "results" / "smoke" / row)
    return tmp_path / "results" / "smoke"


def first(folder: Path, place: str = "fedavg/sign_flip") -> Path:
    return next((folder / place).glob("*.json"))


def edited(path: Path, name: Path, **changes: object) -> Path:
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    return name


def better(path: Path, name: Path, **changes: object) -> Path:
    """The forger's copy: a later record of nearly everything right."""
    return edited(path, name, metrics={"accuracy": 0.999, "loss": 0.1}, finished_at="2040-01-01T00:00:00Z", **changes)


def linked(path: Path, name: Path) -> Path:
    name.symlink_to(better(path, path.parents[3] / "elsewhere.txt"))
    return name


def hidden(path: Path) -> Path:
    """The record's place holds a link to a better one."""
    target = better(path, path.parents[3] / "elsewhere.txt")
    path.unlink()
    path.symlink_to(target)
    return path


def linked_row(path: Path) -> Path:
    row, kept = path.parents[1], path.parents[3] / "kept"
    row.rename(kept)
    row.symlink_to(kept)
    return row


def seeded(path: Path) -> Path:
    """Another seed inside than in the name."""
    return edited(path, path, seed=1)


def relabelled(path: Path) -> Path:
    cell = json.loads(path.read_text())["cell"]
    return edited(path, path, cell={**cell, "label": "mine"})


FORGED: dict[str, Callable[[Path], Path]] = {
    "another name": lambda path: better(path, path.with_name("zz.json")),
    "the name with a letter more": lambda path: better(path, path.with_name(f"{path.stem}b.json")),
    "a hidden name": lambda path: better(path, path.with_name(".a.json")),
    "the name in a second folder of the row": lambda path: better(
        path, path.parents[2] / "fedavg2/sign_flip" / path.name
    ),
    "the name in another row": lambda path: better(path, path.parents[2] / "krum/sign_flip" / path.name),
    "the name in another attack's folder": lambda path: better(path, path.parents[1] / "clean" / path.name),
    "deeper": lambda path: better(path, path.parent / "more" / path.name),
    "beside the rows": lambda path: better(path, path.parents[2] / path.name),
    "another suite's name inside": lambda path: edited(path, path, suite="digits"),
    "another seed inside": seeded,
    "another label inside": relabelled,
    "a link beside it": lambda path: linked(path, path.with_name("000000000000-s0.json")),
    "a link in its place": hidden,
    "a linked row": linked_row,
    "a file outside its folder": lambda path: edited(path, path, files={"png": "../../secret.png"}),
    "a file that is no name": lambda path: edited(path, path, files={"png": ".."}),
}


@pytest.mark.parametrize("kind", FORGED)
def test_what_does_not_belong_is_refused_by_all_who_read(smoke: Path, kind: str) -> None:
    """Whatever the boards leave out, `verify` calls a problem, and the other way round."""
    bad = FORGED[kind](first(smoke))
    (problem,) = contents(smoke).problems
    assert problem.path == bad
    assert str(bad) in problem.line
    assert "\n" not in problem.line

    board = make_leaderboard(suite.load("smoke"), Store(smoke.parent, "smoke"))
    assert problem.line in board.left_out
    assert max(record.metrics.get("accuracy", 0) for record in board.evidence) < 0.99

    found = verify(smoke, sample=0)
    assert problem.line in [line for row in found.rows for line in row.problems]
    assert found.failed

    with pytest.warns(UserWarning, match="is not "):
        frame = bench.load(smoke.parent)
    assert set(frame["key"]) == {record.key for record in board.evidence}


def test_a_second_record_is_called_one(smoke: Path) -> None:
    path = first(smoke)
    better(path, path.with_name("zz.json"))
    (problem,) = contents(smoke).problems
    place = f"smoke/fedavg/sign_flip/{path.name}"
    assert problem.line.endswith(
        f"zz.json is not where it belongs: by its content it is {place}, of which there is one: "
        "a second record does not count"
    )


def test_unknown_json_is_refused_and_known_files_are_not(smoke: Path) -> None:
    path = first(smoke)
    (smoke / verified.FILE).write_text("{}")
    (smoke / "leaderboard.json").write_text("{}")
    (path.parents[1] / FILE).write_text("")
    (path.parents[1] / EXAMINATION).write_text("{}")
    path.with_name("notes.md").write_text("x")
    path.with_name(f".{path.name}.ab12").write_text("x")  # of a write that is under way
    (smoke.parent / "perf").mkdir()
    (smoke.parent / "perf" / "peers.json").write_text("{}")
    measured = smoke.parent / "papers" / "measurements" / "cost" / "a.json"
    measured.parent.mkdir(parents=True)
    measured.write_text("{}")
    assert contents(smoke.parent).problems == []
    unknown = [smoke / "krum" / EXAMINATION, smoke / "notes.json", path.with_name("notes.json")]
    for file in unknown:
        file.write_text("{}")
    assert {problem.path for problem in contents(smoke.parent).problems} == set(unknown)


def test_the_shared_records_of_the_papers_belong_where_they_lie(smoke: Path) -> None:
    path = first(smoke)
    shared = edited(path, smoke.parent / "papers/records/fedavg/sign_flip" / path.name, suite="papers/dpbfl-fig3")
    own = edited(path, smoke.parent / "papers/dpbfl-fig3/fedavg/sign_flip" / path.name, suite="papers/dpbfl-fig3")
    found = contents(smoke.parent / "papers")
    assert (set(found.records), found.problems) == ({shared, own}, [])
    other = edited(path, smoke.parent / "papers/records/krum/sign_flip" / path.name, suite="smoke")
    assert [problem.path for problem in contents(smoke.parent / "papers").problems] == [other]


def test_a_record_is_found_in_its_own_place_alone(smoke: Path) -> None:
    """What a run takes for done is what boards would show."""
    path, store = first(smoke), Store(smoke.parent, "smoke")
    record = read(path)
    assert store.find(record.cell, 0, record.protocol) == record
    edited(path, path, seed=1)
    assert store.find(record.cell, 0, record.protocol) is None
    edited(path, path, seed=0)
    hidden(path)
    assert store.find(record.cell, 0, record.protocol) is None


def test_whatever_may_be_a_record_is_in_the_digest_of_its_row(smoke: Path) -> None:
    before = verified.digest_of(smoke / "fedavg")
    path = first(smoke)
    stray = better(path, path.with_name("zz.json"))
    changed = verified.digest_of(smoke / "fedavg")
    assert changed != before
    stray.unlink()
    path.with_name("notes.md").write_text("x")
    assert verified.digest_of(smoke / "fedavg") == before


def test_copies_do_not_dilute_what_is_drawn(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four hundred copies of a record are four hundred problems, and none of them is played."""
    path = first(smoke)
    for index in range(400):
        shutil.copy(path, path.with_name(f"{index}.json"))
    drawn: list[Path] = []

    def nothing(rows: list[object], *rest: object) -> None:
        drawn.extend(place for row in rows for place in row.playable)  # type: ignore[attr-defined]

    monkeypatch.setattr("bench.submission.verify.replay", nothing)
    found: Verification = verify(smoke / "fedavg")
    assert len(found.rows[0].problems) == 400
    assert sorted(drawn) == sorted(records_of(smoke / "fedavg"))


def records_of(row: Path) -> list[Path]:
    return [place for place in files(row) if "-s0" in place.name]


def test_a_folder_of_nothing_has_nothing(tmp_path: Path) -> None:
    assert contents(tmp_path / "none").records == {}
    assert contents(tmp_path / "none").problems == []
    with pytest.raises(BadInputError, match="no records in"):
        verify(tmp_path)


def test_one_file_is_read_alone(smoke: Path) -> None:
    path = first(smoke)
    found: dict[Path, Record] = contents(path).records
    assert found == {path: read(path)}
