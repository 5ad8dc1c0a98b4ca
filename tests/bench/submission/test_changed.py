"""`verify --changed`: in repositories of git that are made here, one for each way in which a check once failed open."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import suite as suites
from bench.base.errors import BadInputError
from bench.records import Store
from bench.runs import jobs
from bench.submission import changed
from bench.submission.changed import Changed, verify_changed

pytestmark = pytest.mark.integration

PUBLISHED = Path(__file__).parents[3] / "results" / "smoke"

Bench = Callable[..., Any]


def git(checkout: Path, *words: str) -> str:
    who = ("-c", "user.name=somebody", "-c", "user.email=some@body.example", "-c", "commit.gpgsign=false")
    done = subprocess.run(["git", "-C", str(checkout), *who, *words], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository whose first commit has two published rows and their boards."""
    for row in ("fedavg", "krum"):
        shutil.copytree(PUBLISHED / row, tmp_path / "results" / "smoke" / row)
    for board in changed.BOARDS:
        shutil.copy(PUBLISHED / board, tmp_path / "results" / "smoke" / board)
    (tmp_path / "results" / "papers" / "niss-fig3").mkdir(parents=True)
    (tmp_path / "results" / "papers" / "niss-fig3" / "table.md").write_text("1\n")
    git(tmp_path, "init", "-q")
    commit(tmp_path)
    git(tmp_path, "tag", "base")
    return tmp_path


def commit(checkout: Path) -> None:
    git(checkout, "add", "-A")
    git(checkout, "commit", "-q", "-m", "one")


def judged(checkout: Path) -> Changed:
    """What is said of all that was done since the base, without playing anything anew."""
    commit(checkout)
    return verify_changed(checkout, "base", sample=0)


def record_of(checkout: Path, row: str = "krum", attack: str = "clean") -> Path:
    (path,) = (checkout / "results" / "smoke" / row / attack).glob("*.json")
    return path


def test_nothing_below_results_is_green_and_code_is_counted(checkout: Path) -> None:
    for path in ("bench/cli.py", "docs/claims.md"):
        (checkout / path).parent.mkdir()
        (checkout / path).write_text("1\n")
    found = judged(checkout)
    assert (found.failed, found.verifications) == (False, [])
    assert found.notes == ["2 files outside of results: code, for people to read"]


def test_each_folder_of_results_is_a_suites_or_told_by_what_makes_it() -> None:
    """What is added to results later on is judged, or refused in words of its own."""
    folders = [place.name for place in PUBLISHED.parent.iterdir() if place.is_dir()]
    unknown = changed._unknown(["results", "nobody's", "file"])
    others = [name for name in folders if name not in suites.shipped()]
    assert {"claims", "papers", "perf"} <= set(others)
    assert [name for name in others if changed._unknown(["results", name, "file"]) == unknown] == []
    for name in set(folders) - set(others):
        assert changed._row_of(["results", name, "row", "attack", "file.json"]) == f"results/{name}/row"
        assert changed._row_of(["results", name, "row", "attack", "below", "file.json"]) is None


def test_a_row_that_comes_is_verified_whole(checkout: Path) -> None:
    shutil.copytree(PUBLISHED / "dpbfl", checkout / "results" / "smoke" / "dpbfl")
    found = judged(checkout)
    assert (found.problems, [row.verdict for one in found.verifications for row in one.rows]) == ([], ["consistent"])
    record_of(checkout, "dpbfl", "clean").unlink()
    found = judged(checkout)
    assert found.failed  # a record is missing, and the row is looked at as a whole
    assert any("no records of clean" in problem for one in found.verifications for problem in one.rows[0].problems)


def test_all_records_of_a_changed_row_are_played_by_default(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def verify(path: Path, sample: int, *given: Any, **more: Any) -> Any:
        asked.append((path, sample >= 1000, more["contract"], more["worlds"]))
        raise BadInputError("that is all")

    monkeypatch.setattr(changed, "verify", verify)
    shutil.copytree(PUBLISHED / "dpbfl", checkout / "results" / "smoke" / "dpbfl")
    commit(checkout)
    found = verify_changed(checkout, "base", worlds=4)
    assert asked == [(checkout / "results" / "smoke" / "dpbfl", True, True, 4)]
    assert found.problems == ["results/smoke/dpbfl: that is all"]


NAMES = ["my row", "my+row", "größe", "-row", "row;reboot", 'r"ow', "row\nrow", "\x1b[2Jverified", "\udcff"]


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_any_name_is_looked_at(name: str, checkout: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its folder is none that its label gives, which is a problem of its records; no sign of it reaches a terminal."""
    shutil.copytree(PUBLISHED / "dpbfl", checkout / "results" / "smoke" / name)
    found = judged(checkout)
    found.print()
    assert "\x1b" not in capsys.readouterr().out
    assert found.failed
    told = [*found.problems, *(line for one in found.verifications for row in one.rows for line in row.problems)]
    assert any("is not where it belongs" in line for line in told)


def link(path: Path, to: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(to)


def loud(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "a row that is a link": (
        lambda at: link(at / "results/smoke/mine", at / "results/smoke/krum"),
        "results/smoke/mine: a link, or no plain file",
    ),
    "a row that becomes a link": (
        lambda at: link(at / "results/smoke/krum", at / "results/smoke/fedavg"),
        "results/smoke/krum: a link, or no plain file",
    ),
    "a rival's record that is deleted": (lambda at: record_of(at).unlink(), "deleted: what was published"),
    "a rival's record that becomes a link": (
        lambda at: link(record_of(at), record_of(at, "fedavg")),
        "a link, or no plain file",
    ),
    "a rival's row that is deleted": (lambda at: shutil.rmtree(at / "results/smoke/krum"), "deleted"),
    "a rival's row that is renamed": (
        lambda at: (at / "results/smoke/krum").rename(at / "results/smoke/crumb"),
        "deleted",
    ),
    "a board that was edited": (
        lambda at: loud(at / "results/smoke/leaderboard.md", "krum", "**krum**"),
        "results/smoke/leaderboard.md: not what the records give",
    ),
    "a picture of a board": (
        lambda at: [
            (at / "results/smoke/plots").mkdir(),
            (at / "results/smoke/plots/robustness.png").write_bytes(b"1"),
        ],
        "results/smoke/plots/robustness.png: not what the records give",
    ),
    "the papers' tables": (
        lambda at: (at / "results/papers/niss-fig3/table.md").write_text("2\n"),
        "results/papers/niss-fig3/table.md: made by `reproduce`",
    ),
    "claim cards": (
        lambda at: [(at / "results/claims").mkdir(), (at / "results/claims/mine.toml").write_text("")],
        "results/claims/mine.toml: made by `claims`",
    ),
    "measurements": (
        lambda at: [(at / "results/perf").mkdir(), (at / "results/perf/history.jsonl").write_text("{}")],
        "results/perf/history.jsonl: measured on somebody's machine",
    ),
    "what was verified, by hand": (
        lambda at: (at / "results/smoke/verified.json").write_text("{}"),
        "results/smoke/verified.json: no file of a row or of a board",
    ),
    "a file of no suite": (lambda at: (at / "results/README").write_text("1"), "results/README: no file of a row"),
    "a suite that is none": (
        lambda at: shutil.copytree(at / "results/smoke/krum", at / "results/smok/krum"),
        "no file of a row or of a board that this version knows",
    ),
    "attributes that change what is read": (
        lambda at: (at / "results/.gitattributes").write_text("*.json working-tree-encoding=UTF-16"),
        "results/.gitattributes: it says how git reads other files",
    ),
    "attributes beside results, which reach into them": (
        lambda at: (at / ".gitattributes").write_text("results/smoke/krum/** working-tree-encoding=UTF-16"),
        ".gitattributes: it says how git reads other files",
    ),
    "a page beside the records": (
        lambda at: (at / "results/smoke/krum/index.html").write_text("<script>"),
        "results/smoke/krum/index.html: no file of the row",
    ),
    "a picture that no record names": (
        lambda at: record_of(at).with_name("more.png").write_bytes(b"1"),
        "more.png: no file of the row",
    ),
    "results that are a file": (
        lambda at: [shutil.rmtree(at / "results"), (at / "results").write_text("1")],
        "results: no file of a row",
    ),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_nobody_here_can_judge_is_red(what: str, checkout: Path, bench: Bench) -> None:
    change, words = REFUSED[what]
    change(checkout)
    commit(checkout)
    done = bench("verify", str(checkout), "--changed", "base", "--sample", "0", "--worlds", "0")
    assert done.code == 1
    assert words in done.out
    assert "REFUSED" in done.out


def test_a_submodule_in_results_is_red(checkout: Path) -> None:
    other = checkout / "results" / "smoke" / "other"
    other.mkdir()
    git(other, "init", "-q")
    (other / "file").write_text("1")
    commit(other)
    assert "results/smoke/other: a link, or no plain file" in judged(checkout).problems


def test_a_published_submission_is_its_submitters(checkout: Path) -> None:
    shutil.copytree(PUBLISHED / "aksel", checkout / "results" / "smoke" / "aksel")
    commit(checkout)
    git(checkout, "tag", "-f", "base")
    loud(checkout / "results/smoke/aksel/submission.toml", 'title = "', 'title = "No ')
    told = judged(checkout).problems
    assert told == [
        "results/smoke/aksel/submission.toml: of a submission that is published already: a maintainer has to know "
        "whose it is"
    ]


def test_a_failing_git_is_red(checkout: Path, tmp_path: Path, bench: Bench) -> None:
    done = bench("verify", str(checkout), "--changed", "no-such-commit")
    assert (done.code, "git merge-base failed" in done.err) == (2, True)
    done = bench("verify", str(checkout), "--changed", "--output=results/x")
    assert done.code == 2
    (tmp_path / "plain").mkdir()
    assert bench("verify", str(tmp_path / "plain" / "absent"), "--changed", "base").code == 2


@pytest.mark.parametrize("told", ["", ":100644 100644 a b M\0", "nonsense\0path\0", ":1 2 3 M\0path\0"])
def test_a_list_that_cannot_be_read_is_red(told: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty list is none: nothing has changed."""
    monkeypatch.setattr(changed, "_git", lambda *given: told)
    if told:
        with pytest.raises(BadInputError, match="git told no list of changes"):
            list(changed.changes_since(checkout, "base"))
    else:
        assert list(changed.changes_since(checkout, "base")) == []


def test_what_was_not_committed_is_not_judged(checkout: Path, bench: Bench) -> None:
    (checkout / "results" / "smoke" / "krum" / "loose.json").write_text("{}")
    done = bench("verify", str(checkout), "--changed", "base")
    assert (done.code, "is not what was committed: results/smoke/krum/loose.json" in done.err) == (2, True)


def test_a_board_that_the_records_give_is_green(checkout: Path) -> None:
    shutil.copytree(PUBLISHED / "dpbfl", checkout / "results" / "smoke" / "dpbfl")
    made = jobs.boards_of(suites.load("smoke"), Store(checkout / "results", "smoke"))
    for name in changed.BOARDS:
        (checkout / "results" / "smoke" / name).write_bytes(made[name])
    assert judged(checkout).problems == []


def test_a_row_that_says_it_was_made_on_a_gpu_is_red(checkout: Path) -> None:
    """Nobody can play its records anew, so that any number could stand in them."""
    shutil.copytree(PUBLISHED / "dpbfl", checkout / "results" / "smoke" / "dpbfl")
    loud(record_of(checkout, "dpbfl"), '"device": "cpu"', '"device": "cuda: NVIDIA H200"')
    told = judged(checkout).problems
    assert told == ["results/smoke/dpbfl: nobody can tell whether it is what its cells give: a maintainer has to"]


def test_a_published_record_changes_to_numbers_that_hold_to_their_bits_alone(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a rival's could be lowered by what rounding alone moves, under the name of another processor."""
    real = changed.verify

    def verify(*given: Any, **more: Any) -> Any:
        done = real(*given, **more)
        for row in done.rows:
            row.loose = set(row.records)
        return done

    monkeypatch.setattr(changed, "verify", verify)
    loud(record_of(checkout), '"finished_at": "2', '"finished_at": "3')
    (told,) = judged(checkout).problems
    assert told.endswith("published before, and held to its bits by nobody here: a maintainer has to look")
    assert told.startswith("results/smoke/krum/clean/")


@pytest.mark.parametrize(("times", "words"), [(1000, "0.001 times as long"), (0.001, "1e+03 times as long"), (2, "")])
def test_a_rivals_times_are_not_changed_by_hand(times: float, words: str, checkout: Path) -> None:
    """No play repeats them, and they stand on a board."""
    path = record_of(checkout)
    content = json.loads(path.read_text())
    content["cost"]["round_seconds"] *= times
    path.write_text(json.dumps(content))
    told = judged(checkout).problems
    assert len(told) == bool(words)
    assert all(f"its rounds took {words} when it was published: a maintainer" in line for line in told)
