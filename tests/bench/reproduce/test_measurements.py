"""Measurements: the same values whoever makes them, written as they come."""

import importlib
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.reproduce.items import choose
from bench.reproduce.measurements import Experiment, Job, Measurement, Measurements, Point, play
from tests.bench.helpers.processes import STOPPED, comes_true, group, start_bench


def experiment_of(name: str) -> Experiment:
    experiments = (one for item in choose() for form in item.forms for one in form.experiments)
    return next(one for one in experiments if one.name == name)


SMALL = replace(experiment_of("niss-unequal"), spread=True)


ELSEWHERE = """
import os, signal
from bench.base.errors import BadInputError

def dying(point, seed, data_root):
    if point["at"] == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return {"at": point["at"]}

def refused(point, seed, data_root):
    raise BadInputError(f"no data at {data_root}")
"""


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module that worker processes can import, which a test's is not."""
    (tmp_path / "elsewhere_measured.py").write_text(ELSEWHERE)
    monkeypatch.syspath_prepend(tmp_path)
    return importlib.import_module("elsewhere_measured")


def numbered(measure: Callable[..., dict[str, Any]]) -> Experiment:
    return Experiment("numbered", measure, lambda: tuple({"at": at} for at in range(3)), spread=True)


def values(made: list[Measurement]) -> dict[str, Any]:
    return {str(one.point): one.values for one in made}


@pytest.mark.integration
def test_values_are_the_same_alone_and_in_processes(tmp_path: Path) -> None:
    alone, beside = Measurements(tmp_path / "alone"), Measurements(tmp_path / "beside")
    points = SMALL.points()
    one_by_one = list(alone.make_all(SMALL, points, None, workers=1))
    together = list(beside.make_all(SMALL, points, None, workers=2))
    assert len(points) == 3
    assert values(together) == values(one_by_one)
    assert beside.found(SMALL) == sorted(together, key=lambda one: points.index(one.point))
    assert beside.missing(SMALL) == []


def test_what_times_or_takes_seconds_stays_in_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def here(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
        seen.append(os.getpid())
        return {}

    experiment = replace(numbered(here), spread=False)
    assert len(list(Measurements(tmp_path).make_all(experiment, experiment.points(), None, workers=2))) == 3
    assert seen == [os.getpid()] * 3
    assert not any(experiment_of(name).spread for name in ("niss-unequal", "dpbfl-fig8"))
    assert experiment_of("dpbfl-fig11-reduced").spread


def test_a_process_that_dies_is_told_in_one_line(tmp_path: Path, elsewhere: Any) -> None:
    store, experiment = Measurements(tmp_path), numbered(elsewhere.dying)
    with pytest.raises(BadInputError, match=r"^numbered: its worker process was killed by SIGKILL while .* goes on"):
        list(store.make_all(experiment, experiment.points(), None, workers=2))
    assert {"at": 1} in store.missing(experiment)


def test_bad_input_is_the_same_in_a_process(tmp_path: Path, elsewhere: Any) -> None:
    experiment = numbered(elsewhere.refused)
    for workers in (1, 2):
        with pytest.raises(BadInputError, match=r"^no data at nowhere$"):
            list(Measurements(tmp_path).make_all(experiment, experiment.points(), "nowhere", workers))


def test_each_is_written_before_the_next_is_waited_for(tmp_path: Path) -> None:
    store = Measurements(tmp_path)
    made = store.make_all(SMALL, SMALL.points(), None, workers=2)
    first = next(made)
    assert store.find(SMALL, first.point) == first
    made.close()  # as when somebody stops the run: its processes are gone
    assert len(store.missing(SMALL)) == 2


@pytest.mark.slow
@pytest.mark.data
def test_control_c_leaves_no_process_and_one_line(tmp_path: Path, data_root: Path) -> None:
    """Driver, fork server, resource tracker and two workers, whose points take minutes."""
    asked = ("--only", "fig11", "--form", "2", "--workers", "2", "--data", str(data_root), "--results", "r")
    run = start_bench(tmp_path, "reproduce", *asked, OMP_NUM_THREADS="1")
    assert comes_true(lambda: len(group(run.pid)) == 5)
    time.sleep(5)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (130, "")
    assert err.splitlines() == [STOPPED]
    assert comes_true(lambda: not group(run.pid), seconds=10)
    assert not list((tmp_path / "r").rglob("*.json"))


def test_the_seeds_of_a_point_are_played_in_their_order() -> None:
    def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
        return {"seed": seed}

    found, seconds = play(Job(measure, {}, (5, 3), 1, None))
    assert [one["seed"] for one in found] == [5, 3]
    assert seconds >= 0
