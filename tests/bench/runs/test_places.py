"""A user's own runs and the published records: who reads which, what is said; nothing published is touched."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import bench as the_bench
from bench.records import Record, Store
from bench.records.agreement import Agreement, agreement
from bench.runs import jobs, places

Bench = Callable[..., Any]
ROOT = Path(__file__).parents[3]
RUN = ("run", "--suite", "tiny.toml", "--workers", "1", "--defense", "median", "--attack", "sign_flip")
ALL_AGREE = "2 records against results/tiny: 2 agree bit for bit, 0 in distribution, 0 do not"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, suite_text: str) -> list[Record]:
    """The records of a row of the tiny suite: clean and under an attack."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "tiny.toml").write_text(suite_text)
    chosen = {"defenses": ["median"], "attacks": ["sign_flip"]}
    return jobs.run_suite(str(folder / "tiny.toml"), results=folder, workers=1, quiet=True, **chosen).records  # type: ignore[arg-type]


@pytest.fixture
def clone(tmp_path: Path, suite_text: str, made: list[Record], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with published records of a suite `tiny`, and their boards."""
    (tmp_path / "tiny.toml").write_text(suite_text)
    monkeypatch.setattr(places, "BESIDE_THE_CODE", tmp_path / "results")
    monkeypatch.chdir(tmp_path)
    store = Store(Path("results"), "tiny")
    for record in made:
        store.write(record)
    (store.folder / "leaderboard.md").write_text("published")
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_a_run_and_a_fresh_one_touch_nothing_that_is_published(bench: Bench, clone: Path) -> None:
    before = contents(clone / "results")
    for more in ((), ("--fresh",)):
        done = bench(*RUN, *more)
        assert done.code == 0
        assert "2 cells run, 0 were there" in done.out
        assert done.out.splitlines()[-1] == ALL_AGREE
    again = bench(*RUN)
    assert "nothing is left to run: 2 of 2 records were there" in again.out
    assert again.out.splitlines()[-1] == ALL_AGREE
    assert contents(clone / "results") == before
    assert len(list((clone / "runs").rglob("*-s0.json"))) == 2
    assert "/runs/" in (ROOT / ".gitignore").read_text().splitlines()


def test_published_records_made_anew_are_held_against_nothing(bench: Bench, clone: Path) -> None:
    done = bench(*RUN, "--results", "results", "--json")
    assert (json.loads(done.out)["ran"], json.loads(done.out)["agreement"]) == (0, None)
    assert " against " not in bench(*RUN, "--results", "results").out


def test_records_that_nobody_has_published_are_not_said_to_agree(bench: Bench, clone: Path) -> None:
    assert clone.is_dir()
    done = bench(*RUN, "--set", "rounds=1")
    assert done.out.splitlines()[-1] == "none of these 2 records has a published one in results/tiny"


def test_a_shipped_suite_without_published_records_says_so(
    made: list[Record], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As an installed wheel finds it; of somebody's own suite nothing is said."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(places, "BESIDE_THE_CODE", tmp_path / "none")
    suite = jobs.load_suite("smoke")
    board = jobs.build("smoke", "t", 1, jobs.select(made))
    report = jobs.Report(suite, Path("runs/smoke"), made, 2, board, [Path("runs/smoke/leaderboard.md")])
    report.print()
    last = "no published records of this suite are here to hold these against"
    assert capsys.readouterr().out.splitlines()[-1] == last
    report.suite = suite.model_copy(update={"name": "mine"})
    report.print()
    assert last not in capsys.readouterr().out


def test_who_reads_takes_the_own_records_first_and_says_so(bench: Bench, clone: Path) -> None:
    board = ("leaderboard", "--suite", "tiny.toml")
    place = next((clone / "results" / "tiny").rglob("*-s0.json")).relative_to(clone / "results")
    done = bench(*board)
    assert done.err == "published records, results/tiny; there are none of your own in runs/tiny\n"
    assert done.out.startswith("# Leaderboard: tiny")
    assert bench("show", str(place), "--json").err == f"published: results/{place}\n"
    assert bench("verify", "tiny/median", "--sample", "0").err == "published: results/tiny/median\n"
    assert len(the_bench.load()) == 2

    assert bench(*RUN, "--set", "rounds=1", "--quiet").code == 0
    done = bench(*board)
    assert done.err == "records of your own runs, runs/tiny; the published ones: --results results\n"
    assert bench(*board, "--results", "results").err == ""
    assert len(the_bench.load()) == len(the_bench.load("results")) == 2
    assert set(the_bench.load()["key"]).isdisjoint(the_bench.load("results")["key"])
    own = next((clone / "runs" / "tiny").rglob("*-s0.json")).relative_to(clone / "runs")
    assert bench("show", str(own), "--json").err == f"of your own run: runs/{own}\n"
    assert bench("show", str(place), "--json").err == f"published: results/{place}\n"
    assert bench("show", f"results/{place}", "--json").err == ""
    assert bench("verify", "tiny/median", "--sample", "0").err == "of your own run: runs/tiny/median\n"


def test_a_notebook_s_run_goes_where_the_command_s_goes(clone: Path) -> None:
    before = contents(clone / "results")
    frame = the_bench.run("tiny.toml", defenses=["median"], attacks=["sign_flip"])
    assert {path.stem for path in (clone / "runs" / "tiny").rglob("*-s0.json")} == set(frame["key"])
    assert contents(clone / "results") == before


def test_published_records_lie_beside_the_code_wherever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert places.published("smoke") == ROOT / "results"
    assert places.of_suite("smoke") == ROOT / "results"
    assert places.published("nobody-s") is None
    assert places.of_suite("nobody-s") == places.OWN
    monkeypatch.chdir(ROOT)
    assert places.published("smoke") == Path("results")


def test_a_row_stands_beside_published_rows_and_the_user_s_own(clone: Path, made: list[Record]) -> None:
    """Of a cell that is in both places the published record counts."""
    assert clone.is_dir()
    out, published, own = (Store(Path(folder), "tiny") for folder in ("out", "results", "runs"))
    for record in made:
        out.write(labelled(record, "mine"))
        own.write(changed(record, accuracy=0.0))
        own.write(labelled(record, "theirs"))
    board = jobs.make_leaderboard(jobs.load_suite("tiny.toml"), out, beside=[published, own])
    assert sorted(record.cell.label for record in board.evidence) == ["median"] * 2 + ["mine"] * 2 + ["theirs"] * 2
    median = [record for record in board.evidence if record.cell.label == "median"]
    assert sorted(record.key for record in median) == sorted(record.key for record in made)
    assert all(record.metrics["accuracy"] > 0 for record in median)


def labelled(record: Record, label: str) -> Record:
    return record.model_copy(update={"cell": record.cell.model_copy(update={"label": label})})


def record_of_seed(record: Record, seed: int) -> Record:
    return record.model_copy(update={"seed": seed})


def changed(record: Record, **metrics: float) -> Record:
    return record.model_copy(update={"metrics": {**record.metrics, **metrics}})


def test_agreement_counts_bits_what_is_close_and_what_is_not(made: list[Record]) -> None:
    clean, attacked = made
    near = changed(clean, loss=clean.metrics["loss"] * (1 + 1e-7))
    far = changed(attacked, accuracy=attacked.metrics["accuracy"] - 0.02)
    assert agreement(made, made) == Agreement(bits=2, close=0, apart=0)
    assert agreement(made, [near, attacked]) == Agreement(bits=1, close=1, apart=0)
    assert agreement(made, [near, far]) == Agreement(bits=0, close=1, apart=1, rows=("median",))
    other = clean.model_copy(update={"protocol": "another"})
    assert agreement(made, [other, attacked]) == Agreement(bits=1, close=0, apart=0)
    failed = clean.model_copy(update={"status": "failed", "error": "no"})
    assert agreement([clean], [failed]).apart == 1
    seeds = [changed(record_of_seed(attacked, seed), accuracy=0.5 + seed / 100) for seed in range(3)]
    moved = [changed(record, accuracy=record.metrics["accuracy"] + 0.006) for record in seeds]
    assert agreement(seeds, moved) == Agreement(bits=0, close=3, apart=0)  # by less than the seeds' spread
    forged = [changed(record, accuracy=record.metrics["accuracy"] + 0.3) for record in seeds]
    assert agreement(seeds, forged).apart == 3
    assert agreement(made[:1], made[:1]).line(1, "there").startswith("1 record against there: 1 agree bit for bit")
    line = agreement(made, [near, far, other]).line(3, "there")
    assert line == ("2 (of 3) records against there: 0 agree bit for bit, 1 in distribution, 1 do not (median)")


def test_the_published_folder_is_found_by_its_name_from_anywhere(
    bench: Bench, clone: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    board = bench("leaderboard", "--suite", "tiny.toml", "--results", "results").out
    keys = set(the_bench.load("results")["key"])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "tiny.toml").write_text((clone / "tiny.toml").read_text())
    monkeypatch.chdir(elsewhere)
    assert places.to_read(Path("results/tiny")) == clone / "results" / "tiny"
    assert places.to_read(Path("others")) == Path("others")
    record = next((clone / "results").rglob("*-s0.json"))
    assert bench("show", str(record.relative_to(clone))).code == 0
    assert set(the_bench.load("results")["key"]) == keys
    assert jobs.leaderboard_text("tiny.toml", Path("results"), "md") == board
    (elsewhere / "results").mkdir()
    assert places.to_read(Path("results")) == Path("results")
