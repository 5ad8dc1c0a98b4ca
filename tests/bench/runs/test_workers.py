"""Worker processes: whom a task goes to, and what they have loaded before it comes."""

import operator
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial
from typing import Any

import pytest

from bench.runs import workers
from bench.runs.workers import NO_LIMITS, Processes

pytestmark = pytest.mark.integration

SLOWLY = "(__import__('time').sleep(0.3), __import__('os').getpid())[1]"
SLOW_TO_LOAD = {"matplotlib", "pandas", "scipy.optimize", "scipy.stats", "sklearn", "torchvision"}


def of(group: str) -> "partial[int]":
    """A task of a group that takes a while and tells which process it ran in."""
    task = partial[int](eval, SLOWLY)
    vars(task)["group"] = group
    return task


def test_a_worker_goes_on_with_what_it_has_begun() -> None:
    with closing(Processes(2, NO_LIMITS, operator.call)) as place:
        both = {group: place.submit(of(group)) for group in ("a", "b")}
        played = {group: future.result() for group, future in both.items()}
        assert len({os.getpid(), *played.values()}) == 3
        order = ("b", "a", "a", "b", "b", "a")
        assert [place.submit(of(group)).result() for group in order] == [played[group] for group in order]


def test_another_group_takes_whatever_worker_is_free() -> None:
    with closing(Processes(1, NO_LIMITS, operator.call)) as place:
        assert len({place.submit(of(group)).result() for group in ("a", "b", "", "a")}) == 1


@pytest.mark.parametrize("attack", [None, {"name": "dlg"}, {"name": "audit"}], ids=["training", "inversion", "audit"])
def test_what_images_need_is_loaded_for_inversions_alone(
    make_cell: Callable[..., Any],
    make_task: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    attack: dict[str, Any] | None,
) -> None:
    loaded: list[Sequence[str]] = []
    monkeypatch.setattr(workers, "Processes", lambda count, limits, preload: loaded.append(preload))
    workers.backend(2, NO_LIMITS, [make_task(make_cell({"name": "dp_fedavg"}, attack))])
    assert ("torchvision.utils" in loaded[0]) == (attack == {"name": "dlg"})


def test_what_plays_cells_loads_what_few_of_them_need_when_they_need_it() -> None:
    code = f"import sys, bench.plays.cell; print(sorted({SLOW_TO_LOAD} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
