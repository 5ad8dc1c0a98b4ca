"""What all sides of `peers_comparison.py` share: a workload's rows from a file, its calls timed, its answer written.

Needs nothing but torch and numpy, since it also runs in the peers' own environments.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

Rows = Any
"""What a library takes: a tensor or an array `(n, d)`, or a list of n tensors."""


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


def main(
    workloads: Callable[[str, dict[str, Any]], Call | None],
    packages: tuple[str, ...],
    more: Callable[[dict[str, Any], torch.Tensor], dict[str, Any]] = lambda told, rows: {},
) -> None:
    """Reads `{"side", "case", "rows", "answers", "threads", "repeats"}` and prints what was measured as JSON."""
    told = json.loads(sys.argv[1])
    torch.set_num_threads(told["threads"])
    rows = torch.from_numpy(np.load(told["rows"]))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call = workloads(told["side"], told["case"])
    if call is None:
        print(json.dumps({"seconds": None}))
        return
    seconds, answer = timed(call, rows, told["repeats"])
    grown = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    if told["answers"]:
        np.save(Path(told["answers"]) / f"{told['side']}.npy", as_array(answer))
    found = {
        "seconds": statistics.median(seconds),
        "fastest": min(seconds),
        "peak_bytes": grown,
        "versions": {name: version(name) for name in packages},
    }
    print(json.dumps({**found, **more(told, rows)}))
