"""What all sides of `peers_comparison.py` share: a workload's rows from a file, its calls timed, its answer written.

Needs nothing but torch and numpy, since it also runs in the peers' own environments.
"""

import json
import multiprocessing
import os
import resource
import signal
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch

Rows = Any
"""What a library takes: a tensor or an array `(n, d)`, or a list of n tensors."""


LEAVE = 5.0
"""Seconds in which a process ends after its answer, with what it started, before it is made to."""

FEWEST, PATIENCE = 5, 6.0
"""Calls at least, and the seconds after which there are no more than that."""


@dataclass(frozen=True)
class Call:
    """One library's way to do a workload: `work` is timed on what `given` makes of the rows `(n, d)`.

    Where `spoils` is set the library writes into its input: each call gets a copy, made outside the clock.
    """

    work: Callable[[Rows], Any]
    given: Callable[[torch.Tensor], Rows] = lambda rows: rows
    spoils: bool = False


def timed(call: Call, rows: torch.Tensor, repeats: int) -> tuple[list[float], Any]:
    """The seconds of `repeats` calls after one to warm up, at least `FEWEST` where they are slow; the last answer."""
    seconds: list[float] = []
    answer = None
    given = call.given(rows)
    while len(seconds) < repeats + 1 and (len(seconds) <= FEWEST or sum(seconds) < PATIENCE):
        if call.spoils:
            given = call.given(rows.clone())
        torch.manual_seed(0)  # the peers' draws are from global generators
        start = time.perf_counter()
        answer = call.work(given)
        seconds.append(time.perf_counter() - start)
    return seconds[1:], answer


def as_array(answer: Any) -> np.ndarray:
    """`(k, d)` of what a library answers: a vector, a matrix, or a list of vectors."""
    if isinstance(answer, list | tuple):
        answer = torch.stack([torch.as_tensor(row) for row in answer])
    return np.atleast_2d(np.asarray(answer, dtype=np.float64))


Workloads = Callable[[str, dict[str, Any]], Call | None]
More = Callable[[dict[str, Any], torch.Tensor], dict[str, Any]]


def main(workloads: Workloads, packages: tuple[str, ...], more: More = lambda told, rows: {}) -> None:
    """Answers each line of the standard input with a line of what was measured, both in JSON.

    A line is `{"side", "case", "rows", "answers", "threads", "repeats", "limit"}`. A measurement is a process of its
    own, forked from this one, which has imported the library and has done nothing with it.
    """
    channel = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints is no answer
    for line in sys.stdin:
        told = json.loads(line)
        before = used_by_children()
        answer = apart(partial(measured, workloads, packages, more, told), told["limit"])
        print(json.dumps({**answer, "used": used_by_children() - before}), file=channel, flush=True)


def used_by_children() -> float:
    """Processor seconds of all processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def apart(work: Callable[[], dict[str, Any]], limit: float) -> dict[str, Any]:
    """What `work` answers in a forked process; seconds None where it failed, or was stopped after `limit` seconds."""
    fork = multiprocessing.get_context("fork")
    answers, told = fork.Pipe(duplex=False)
    child = fork.Process(target=_tell, args=(work, told))
    child.start()
    told.close()
    try:
        answer: dict[str, Any] = answers.recv() if answers.poll(limit) else {"seconds": None, "stopped": True}
    except EOFError:
        answer = {"seconds": None, "failed": "its process ended"}
    child.join(0.0 if "stopped" in answer else LEAVE)
    if child.is_alive():
        os.killpg(child.pid or 0, signal.SIGKILL)  # and what it started
        child.join()
    return answer


def _tell(work: Callable[[], dict[str, Any]], told: Connection) -> None:
    os.setpgrp()
    try:
        told.send(work())
    except Exception as error:  # the library's, whatever it is: the table has it
        told.send({"seconds": None, "failed": f"{type(error).__name__}: {error}".splitlines()[0][:200]})


def measured(workloads: Workloads, packages: tuple[str, ...], more: More, told: dict[str, Any]) -> dict[str, Any]:
    """One measurement; seconds None where the library has no such thing."""
    torch.set_num_threads(told["threads"])
    rows = torch.from_numpy(np.load(told["rows"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call = workloads(told["side"], told["case"])
    if call is None:
        return {"seconds": None}
    seconds, answer = timed(call, rows, told["repeats"])
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    np.save(Path(told["answers"]) / f"{told['side']}.npy", as_array(answer))
    return {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "peak_bytes": grown,
        "versions": {name: version(name) for name in packages},
        **more(told, rows),
    }
