"""`reproduce`: what is missing runs, once; the report is a function of the records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.records import Store
from bench.reproduce import command, report
from bench.reproduce.evidence import MEASUREMENTS, RECORDS
from bench.reproduce.items import choose
from bench.reproduce.measurements import Measurements

Bench = Callable[..., Any]


def content(results: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(results)): path.read_bytes()
        for path in sorted((results / "papers").rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }


def test_table_3_is_made_in_one_command_and_only_once(bench: Bench, tmp_path: Path) -> None:
    done = bench("reproduce", "--only", "table3", "--results", "r")
    assert done.code == 0
    assert "dpbfl-table3: reproduced: all printed digits" in done.out
    first = content(tmp_path / "r")
    assert {"papers/README.md", "papers/dpbfl-table3/table.md", "papers/dpbfl-table3/table.csv"} <= set(first)
    assert "0.28505544898604424" in first["papers/dpbfl-table3/table.md"].decode()
    again = bench("reproduce", "dpbfl", "--only", "table3", "--results", "r")
    assert "0 cells and points run" in again.out
    assert content(tmp_path / "r") == first


def test_without_records_nothing_is_claimed(bench: Bench, tmp_path: Path) -> None:
    done = bench("reproduce", "--no-run", "--results", "r")
    assert done.code == 0
    text = (tmp_path / "r" / "papers" / "README.md").read_text()
    assert text.count("not run yet:") == len(choose())
    assert f"Of {len(choose())} items: {len(choose())} not run yet." in text
    assert set(content(tmp_path / "r")) == {"papers/README.md"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("dpfl",), "no paper named 'dpfl'"),
        (("--only", "tabel3"), "no item named 'tabel3'"),
        (("--only", "table1", "--seeds", "x"), "--seeds 'x'"),
        (("--only", "fig10", "--form", "4"), "dpbfl-fig10 has no form '4': it has 1 (in full), 2 (n = 10,000 and"),
        (("--only", "fig10", "--form", "n=10000"), "dpbfl-fig10 has no form 'n=10000'"),
        (("--only", "table3", "--form", "2", "--no-run"), "dpbfl-table3 has no form '2': it has 1 (in full)"),
        (("--only", "fig10", "--form", "2", "--full"), "--form '2' names a form"),
    ],
)
def test_bad_input_is_told_in_one_line(bench: Bench, arguments: tuple[str, ...], told: str) -> None:
    done = bench("reproduce", *arguments, "--results", "r")
    assert done.code == 2
    assert told in done.err
    assert done.err.count("\n") == 1


@pytest.mark.integration
@pytest.mark.usefixtures("_small_suites")
def test_an_item_of_a_suite_runs_what_is_missing_and_is_built_of_its_records(tmp_path: Path) -> None:
    """The report is the same whenever it is built."""
    request = command.Request(only=("table1",), results=tmp_path, workers=1, quiet=True)
    done = command.reproduce(request)
    assert done.ran == 32
    assert done.unfinished == []
    (entry,) = done.entries
    assert entry.verdict is not report.Verdict.PENDING
    assert (tmp_path / "papers" / "dpbfl-table1" / "plot.png").read_bytes().startswith(b"\x89PNG")
    first = content(tmp_path)
    built = command.Request(only=("table1",), results=tmp_path, run=False, quiet=True)
    command.reproduce(built)
    assert content(tmp_path) == first

    lost = next(Store(tmp_path, RECORDS).folder.glob("*/*/*.json"))
    lost.unlink()
    pending = command.reproduce(built)
    assert pending.entries[0].verdict is report.Verdict.PENDING
    assert "1 of 32 cells are missing" in pending.entries[0].line()["verdict"]
    assert command.reproduce(request).ran == 1
    assert set(content(tmp_path)) == set(first)


@pytest.mark.usefixtures("_small_suites")
def test_an_estimate_times_each_kind_of_cell_once_and_runs_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = command.Request(only=("table1",), results=tmp_path, estimate=True, quiet=True)
    done = command.reproduce(asked)
    assert done.ran == 2  # a round of rsa and one of dpbfl
    assert not list(Store(tmp_path, RECORDS).folder.glob("*/*/*.json"))
    (cost,) = done.entries[0].costs
    assert cost.missing == cost.wanted == 32
    assert cost.hours is not None
    assert 0 < cost.hours < 1
    assert "core" in (tmp_path / "papers" / "README.md").read_text()
    assert command.reproduce(asked).ran == 0
    done.print()
    assert "  1. in full: 32 of 32 cells are missing, about 1 min of one core\n" in capsys.readouterr().out


def test_an_estimate_of_one_form_leaves_the_others_untimed(tmp_path: Path, shrink: Callable[..., None]) -> None:
    shrink("dataset=digits", "rounds=1", "samples_per_client=1", "eval_every=1")
    done = command.reproduce(command.Request(only=("fig10",), results=tmp_path, estimate=True, form="3", quiet=True))
    assert done.ran == 2  # a round of dpbfl and one of ldpbfl
    full, middle, reduced = done.entries[0].costs
    assert full.hours is middle.hours is None
    assert reduced.hours is not None


def test_what_is_no_measurement_is_measured_again(tmp_path: Path) -> None:
    (item,) = choose(only=["table3"])
    (experiment,) = item.forms[0].experiments
    store = Measurements(tmp_path / MEASUREMENTS)
    points = list(experiment.points())
    made = [store.make(experiment, point, None) for point in points]
    assert store.missing(experiment) == []
    assert store.found(experiment) == made
    store.path(experiment, points[0]).write_text("{")
    other = store.path(experiment, points[1])
    other.write_text(other.read_text().replace('"n": 50000', '"n": 1000'))
    assert store.missing(experiment) == points[:2]
    assert store.missing(replace(experiment, version=2)) == points


def test_one_form_of_an_item_runs_the_fullest_that_is_asked_for() -> None:
    def names(only: str, **asked: Any) -> list[str]:
        (item,) = choose(["dpbfl"], [only])
        return [form.name for form in command._forms(item, command.Request(**asked))]

    assert names("fig8") == names("fig8", reduced=True) == ["in full"]
    assert names("fig10") == []
    assert names("fig10", reduced=True) == ["n = 10,000"]
    assert names("fig10", full=True) == ["in full"]
    assert names("fig10", form="2") == names("fig10", form="n = 10,000 and 50,000") == ["n = 10,000 and 50,000"]
    assert names("fig10", form="3", estimate=True) == ["n = 10,000"]
    assert len(names("fig10", estimate=True)) == 3
    assert names("fig9", reduced=True) == names("fig9", full=True) == ["in full"]
