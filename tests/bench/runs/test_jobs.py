"""A run from end to end in this process: records, boards, what is told of it; and the same as data frames."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bench
from bench.base.errors import BadInputError
from bench.records import Store, read
from bench.runs import jobs
from bench.suite import load as load_suite
from bench.suite import shipped
from leaderboards.formats import FORMATS

ROWS = """
[[defense]]
name = "median"

[[defense]]
name = "krum"

[[attack]]
name = "sign_flip"
byzantine = [0.0, 0.25]

[[attack]]
name = "dlg"
starts = 1
evaluations = 20
"""


@pytest.fixture(scope="session")
def suite_text(tiny_suite: Callable[..., str]) -> str:
    """The suite: two defenses, three columns, two seeds."""
    return tiny_suite(ROWS, seeds="[0, 1]", clients=8, assumed_byzantine=0.25)


@pytest.fixture
def tiny(tmp_path: Path, suite_text: str) -> str:
    path = tmp_path / "tiny.toml"
    path.write_text(suite_text)
    return str(path)


def run(suite: str, results: Path, **given: Any) -> jobs.Report:
    return jobs.run_suite(suite, **{"results": results, "workers": 1, "quiet": True, **given})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, suite_text: str) -> jobs.Report:
    """The whole tiny suite."""
    folder = tmp_path_factory.mktemp("finished")
    suite = folder / "tiny.toml"
    suite.write_text(suite_text)
    return run(str(suite), folder)


def keys(report: jobs.Report) -> set[str]:
    return {path.stem for path in report.folder.glob("*/*/*.json")}


# ---------------------------------------------------------------------------------------------------------------- runs


def test_a_run_leaves_its_records_and_two_boards(finished: jobs.Report) -> None:
    assert (finished.ran, finished.present, finished.unfinished) == (12, 0, [])
    assert {record.key for record in finished.records} == keys(finished)
    assert finished.written == [finished.folder / "leaderboard.md", finished.folder / "leaderboard.csv"]
    assert finished.written[0].read_text() == FORMATS["md"](finished.leaderboard)
    assert finished.written[1].read_text() == FORMATS["csv"](finished.leaderboard)


def test_a_run_leaves_the_pictures_that_the_page_links(finished: jobs.Report) -> None:
    assert finished.pictures == [finished.folder / "plots" / "gallery-dlg.png"]
    assert finished.pictures[0].read_bytes().startswith(b"\x89PNG")
    assert "[Gallery: dlg](<plots/gallery-dlg.png>)" in finished.written[0].read_text()


def test_pictures_are_made_again_the_same(tiny: str, finished: jobs.Report) -> None:
    before = finished.pictures[0].read_bytes()
    finished.pictures[0].unlink()
    assert run(tiny, finished.folder.parent).pictures == finished.pictures
    assert finished.pictures[0].read_bytes() == before


def test_a_suite_without_privacy_cells_has_no_pictures(tiny: str, tmp_path: Path) -> None:
    report = run(tiny, tmp_path, defenses=["krum"], attacks=["sign_flip"], seeds=(0,))
    assert report.pictures == []
    assert not (report.folder / "plots").exists()
    assert "## Pictures" not in report.written[0].read_text()


def test_the_boards_hold_every_row_and_column(finished: jobs.Report) -> None:
    page = finished.written[0].read_text()
    rows = list(csv.DictReader(io.StringIO(finished.written[1].read_text())))
    for name in ("median", "krum", "clean", "sign_flip b=0.25", "dlg"):
        assert name in page
        assert any(name in (row["defense"], row["column"]) for row in rows)
    recorded = [record for record in finished.records if record.cell.label == "krum" and record.cell.attack is None]
    expected = sum(record.metrics["accuracy"] for record in recorded) / 2
    (found,) = [
        float(row["mean"])
        for row in rows
        if (row["board"], row["defense"], row["column"], row["metric"]) == ("robustness", "krum", "clean", "accuracy")
    ]
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_second_run_finds_everything_there(tiny: str, finished: jobs.Report) -> None:
    again = run(tiny, finished.folder.parent)
    assert (again.ran, again.present) == (0, 12)
    assert FORMATS["csv"](again.leaderboard) == FORMATS["csv"](finished.leaderboard)


def test_a_corner_of_a_suite_runs_alone_and_is_completed_later(tiny: str, tmp_path: Path) -> None:
    corner = run(tiny, tmp_path, defenses=["krum"], attacks=["sign_flip"], seeds=(1,))
    assert {(r.cell.label, r.cell.column, r.seed) for r in corner.records} == {
        ("krum", "clean", 1),
        ("krum", "sign_flip b=0.25", 1),
    }
    rest = run(tiny, tmp_path, attacks=["sign_flip"])
    assert (rest.ran, rest.present) == (6, 2)


def test_seeds_may_be_others_than_the_suites(tiny: str, tmp_path: Path) -> None:
    report = run(tiny, tmp_path, defenses=["krum"], attacks=["sign_flip"], seeds=(7,))
    assert {record.seed for record in report.records} == {7}
    assert report.leaderboard.seeds == 1
    told = "Not the suite as it stands, but as asked for: seeds 7, where the suite has 0, 1."
    assert report.leaderboard.notice == told
    assert f"**{told}**" in report.written[0].read_text()
    assert {record.seed for record in report.leaderboard.evidence} == {7}


def test_a_board_of_the_suite_leaves_other_seeds_out_and_says_so(tiny: str, tmp_path: Path) -> None:
    corner: dict[str, Any] = {"defenses": ["krum"], "attacks": ["sign_flip"]}
    run(tiny, tmp_path, **corner, seeds=(7, 9))
    found = run(tiny, tmp_path, **corner).leaderboard
    assert {record.seed for record in found.evidence} == {0, 1}
    assert "4 records of other seeds (7, 9)" in found.left_out
    assert found.notice == ""
    assert jobs.leaderboard_text(tiny, tmp_path, "md").count("records of other seeds (7, 9)") == 1


def test_a_board_of_a_changed_suite_says_what_was_changed(tiny: str, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"defenses": ["krum"], "attacks": ["sign_flip"], "seeds": (0,), "changes": ["rounds=1"]}
    told = "as asked for: --set rounds=1; seeds 0, where the suite has 0, 1."
    assert run(tiny, tmp_path, **asked).leaderboard.notice.endswith(told)


@pytest.mark.parametrize(("seeds", "told"), [((0, 0), "seed 0 stands there twice"), ((), "at least 1 item")])
def test_seeds_that_are_none_are_refused(tiny: str, tmp_path: Path, seeds: tuple[int, ...], told: str) -> None:
    with pytest.raises(BadInputError, match=told):
        run(tiny, tmp_path, seeds=seeds)


def test_changes_reach_the_cells(tiny: str, tmp_path: Path) -> None:
    report = run(tiny, tmp_path, attacks=["sign_flip"], seeds=(0,), changes=["rounds=1", "sign_flip.c=0.5"])
    assert {len(record.curve) for record in report.records} == {1}
    assert {r.cell.attack.parameters["c"] for r in report.records if r.cell.attack} == {0.5}


def test_fresh_runs_again_what_is_there(tiny: str, tmp_path: Path) -> None:
    corner: dict[str, Any] = {"defenses": ["krum"], "attacks": ["sign_flip"], "seeds": (0,)}
    run(tiny, tmp_path, **corner)
    again = run(tiny, tmp_path, fresh=True, **corner)
    assert (again.ran, again.present) == (2, 0)


def test_boards_of_one_setting_leave_out_the_records_of_another(tiny: str, tmp_path: Path) -> None:
    corner: dict[str, Any] = {"attacks": ["sign_flip"], "seeds": (0,)}
    run(tiny, tmp_path, **corner)
    other = run(tiny, tmp_path, changes=["rounds=1"], **corner)
    assert other.leaderboard.records == 4
    assert any(line.startswith("4 records") for line in other.leaderboard.left_out)


# ------------------------------------------------------------------------------------------------------------- failures


@pytest.mark.usefixtures("_broken")
def test_failed_cells_are_told_in_the_report_and_on_the_boards(
    tiny: str, suite_text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(tiny).write_text(suite_text.replace('name = "median"', 'name = "broken"'))
    report = run(tiny, tmp_path, attacks=["sign_flip"], seeds=(0,))
    assert {(record.cell.label, record.status) for record in report.unfinished} == {("broken", "failed")}
    assert report.summary()["failed_or_diverged"] == [record.key for record in report.unfinished]
    assert len(report.records) == 4
    report.print()
    shown = capsys.readouterr().out
    assert "RuntimeError: cannot aggregate" in shown
    assert "failed" in report.written[0].read_text()
    again = run(tiny, tmp_path, attacks=["sign_flip"], seeds=(0,))
    assert (again.ran, len(again.unfinished)) == (0, 2)


def test_damaged_records_are_left_out_of_the_boards_by_name(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corner: dict[str, Any] = {"attacks": ["sign_flip"], "seeds": (0,)}
    damaged = next(run(tiny, tmp_path, **corner).folder.glob("*/*/*.json")).with_name("damaged.json")
    damaged.write_text("{")
    report = run(tiny, tmp_path, **corner)
    line = report.leaderboard.left_out[-1]
    assert str(damaged) in line
    assert damaged.read_text() == "{"
    report.print()
    assert "damaged.json" in capsys.readouterr().out.replace("\n", "")


def test_a_results_folder_that_is_a_file_is_told_in_one_line(tiny: str, tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    with pytest.raises(BadInputError, match=rf"^cannot write under {taken / 'tiny'}: [^\n]+$"):
        run(tiny, taken, attacks=["sign_flip"], seeds=(0,))
    assert taken.read_text() == "mine"


def test_boards_that_cannot_be_written_are_told_in_one_line(tiny: str, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "leaderboard.md").mkdir(parents=True)
    with pytest.raises(BadInputError, match=r"^cannot write \S+leaderboard\.md: [^\n]+$"):
        run(tiny, tmp_path, defenses=["krum"], attacks=["sign_flip"], seeds=(0,))


# ------------------------------------------------------------------------------------------------------ what is told


def test_the_summary_is_for_programs(finished: jobs.Report) -> None:
    summary = finished.summary()
    assert json.loads(json.dumps(summary)) == {
        "suite": "tiny",
        "ran": 12,
        "already_there": 0,
        "failed_or_diverged": [],
        "written": [str(path) for path in finished.written],
        "agreement": None,
    }


def test_the_boards_are_printed_whole(finished: jobs.Report, capsys: pytest.CaptureFixture[str]) -> None:
    finished.print(everything=True)
    shown = capsys.readouterr().out
    words = " ".join(shown.split())  # a title is wrapped to the width of its table
    for board in finished.leaderboard.boards:
        if len(board.text):
            assert board.title in words
    assert "12 cells run, 0 were there" in shown
    assert "\x1b" not in shown  # a pipe gets no colours


@pytest.mark.parametrize("quiet", [True, False])
def test_progress_goes_to_the_error_stream_unless_quiet(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], quiet: bool
) -> None:
    run(tiny, tmp_path, defenses=["krum"], attacks=["sign_flip"], seeds=(0,), quiet=quiet)
    told = capsys.readouterr()
    assert told.out == ""
    assert ("2 of 2 cells" in told.err) == (not quiet)
    assert (told.err == "") == quiet


# --------------------------------------------------------------------------------------------------------------- boards


@pytest.mark.parametrize("output_format", FORMATS)
def test_boards_are_made_again_from_the_records(finished: jobs.Report, tiny: str, output_format: str) -> None:
    text = jobs.leaderboard_text(tiny, finished.folder.parent, output_format)
    board = replace(finished.leaderboard, asked_for=tiny)  # the page names what a command must: here a file
    assert text == FORMATS[output_format](board)
    assert text.endswith("\n")


def test_an_unknown_format_gets_the_nearest(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^no format named 'jsn': did you mean json\?$"):
        jobs.leaderboard_text(tiny, tmp_path, "jsn")


def test_no_records_are_told_with_the_command_that_makes_them(tiny: str, tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"^no records in \S+tiny: run `python -m bench run --suite"):
        jobs.leaderboard_text(tiny, tmp_path, "md")


def test_the_command_that_makes_them_names_the_suite_as_it_was_given(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="run --suite digits` first"):
        jobs.leaderboard_text("digits", tmp_path, "md")


def test_a_suite_in_a_file_is_named_by_its_file(tiny: str, tmp_path: Path) -> None:
    """`--suite tiny` would not find it."""
    with pytest.raises(BadInputError) as told:
        jobs.leaderboard_text(tiny, tmp_path, "md")
    assert f"run --suite {tiny}" in str(told.value)


def test_rows_of_the_flags_stand_in_the_suites_order(finished: jobs.Report, tiny: str) -> None:
    """One seed of two is missing in every cell, so every row has a flag."""
    store = Store(finished.folder.parent / "half", "tiny")
    for record in finished.records:
        if record.seed == 0:
            store.write(record)
    leaderboard = jobs.make_leaderboard(load_suite(tiny), store)
    assert list(leaderboard.flags) == ["median", "krum"]
    assert "clean: 1 of 2 seeds" in leaderboard.flags["krum"]


# -------------------------------------------------------------------------------------------------------- small things


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, None), ("0", (0,)), ("0,1,2", (0, 1, 2)), (" 3 , 1 ", (3, 1)), ("10", (10,))]
)
def test_seeds_are_numbers_with_commas(text: str | None, seeds: tuple[int, ...] | None) -> None:
    assert jobs.parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", ",", "0,", "x", "0;1", "1.5", "0-2"])
def test_what_is_no_list_of_seeds_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=r"^--seeds '.*' is not a list of whole numbers such as 0,1,2$"):
        jobs.parse_seeds(text)


@pytest.mark.parametrize("text", ["0,0", "1,2,01"])
def test_a_seed_twice_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match=rf"^--seeds '{text}' names a seed twice$"):
        jobs.parse_seeds(text)


# --------------------------------------------------------------------------------------------------------- from Python


def test_a_notebook_gets_a_row_a_record(finished: jobs.Report, tiny: str) -> None:
    frame = bench.run(tiny, seeds=[1], results=finished.folder.parent)
    assert isinstance(frame, pd.DataFrame)
    assert len(frame) == 6
    assert set(frame["seed"]) == {1}
    assert set(frame["defense"]) == {"median", "krum"}
    assert frame.loc[frame["column"] != "dlg", "accuracy"].between(0, 1).all()


def test_records_are_loaded_as_a_row_each_and_damaged_ones_with_a_warning(
    finished: jobs.Report, tmp_path: Path
) -> None:
    store = Store(tmp_path, "tiny")
    for record in finished.records:
        store.write(record)
    frame = bench.load(tmp_path)
    assert set(frame["key"]) == keys(finished)
    path = next(store.folder.glob("*/*/*.json"))
    expected = read(path).key
    path.write_text("{")
    with pytest.warns(UserWarning, match=rf"{path.name} is not a record"):
        frame = bench.load(tmp_path)
    assert set(frame["key"]) == keys(finished) - {expected}


def test_records_of_another_arithmetic_are_told_in_one_line(
    tiny: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    corner: dict[str, Any] = {"defenses": ["median"], "attacks": ["clean"]}
    first = run(tiny, tmp_path, **corner)
    assert first.of_another_arithmetic() is None
    store = Store(tmp_path, "tiny")
    for record, made in zip(first.records, ("native", ""), strict=True):
        environment = record.environment.model_copy(update={"arithmetic": made})
        store.write(record.model_copy(update={"environment": environment}))
    run(tiny, tmp_path, **corner).print()
    here = first.records[0].environment.arithmetic
    told = f"of the records that were there 1 in native arithmetic, and this run is {here}: --fresh plays them anew"
    assert capsys.readouterr().out.count(told) == (here != "native")
    assert run(tiny, tmp_path, **corner, fresh=True).of_another_arithmetic() is None


def test_a_file_with_the_name_of_a_shipped_suite_says_so_above_its_boards(suite_text: str, tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(suite_text.replace('name = "tiny"', 'name = "smoke"'))
    report = run(str(mine), tmp_path, defenses=["median"], attacks=["clean"])
    told = f"{mine} is not the shipped suite 'smoke' whose name it has, and the records of both lie in one folder"
    assert report.leaderboard.notice.startswith(told)
    assert told in jobs.leaderboard_text(str(mine), tmp_path, "md")
    (tmp_path / "copy.toml").write_bytes(shipped()["smoke"].read_bytes())
    assert jobs._namesake(str(tmp_path / "copy.toml"), load_suite("smoke")) == ""
    assert jobs._namesake("smoke", load_suite("smoke")) == ""


def test_one_row_is_printed_with_the_overall_board_and_its_own_lines_alone(
    finished: jobs.Report, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs.print_rows(finished.leaderboard, ["krum"])
    overall, _, others = capsys.readouterr().out.partition("Robustness: ")
    assert overall.count("median") == 1
    assert "krum" in overall
    assert "median" not in others
    assert others.count("│ krum ") == sum("krum" in board.text.to_string() for board in finished.leaderboard.boards) - 1
    assert "95 % t interval" not in others
