"""Worker processes: a task goes to the worker that played the last one of its group."""

import operator
import os
from contextlib import closing
from functools import partial

from bench.workers import NO_LIMITS, Processes

SLOWLY = "(__import__('time').sleep(0.3), __import__('os').getpid())[1]"


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
