"""What a benchmark calls: rounds of its function through pytest-benchmark, with calibration kernels around each."""

import time
from collections.abc import Callable
from typing import Any, TypeVar

from bench.base.device import synchronise
from bench.perf.calibration import KERNEL_VERSION, Normaliser, kernels
from bench.perf.peak import peak_bytes

KEY = "tracking"
"""Where a benchmark's `extra_info` holds what normalises it."""

BUDGET_SECONDS = 1.0
FEWEST_ROUNDS, MOST_ROUNDS = 7, 60

Result = TypeVar("Result")


class Tracker:
    """Wraps pytest-benchmark's fixture; `tests/performance/conftest.py` gives it as the fixture `tracked`."""

    def __init__(self, benchmark: Any) -> None:
        self.benchmark = benchmark

    def __call__(
        self,
        function: Callable[[], Result],
        by: Normaliser = "mixed",
        memory: bool = False,
        rounds: int | None = None,
        **facts: Any,
    ) -> Result:
        """Time `function` round by round and return its last result.

        `by` names the kernels that normalise it, `memory` asks for its peak memory (one more call, untimed), `rounds`
        replaces as many as fit into a second, and `facts` go into `extra_info` as they are.
        """
        self.benchmark.extra_info.update(facts)
        if self.benchmark.disabled:
            return function()

        def done() -> Result:
            """On a GPU a call only says what is to be done."""
            made = function()
            synchronise()
            return made

        done()  # the first call loads code, grows the heap and starts threads
        if rounds is None:
            rounds = rounds_for(_seconds(done))
        peak = peak_bytes(function) if memory else None

        marks: dict[str, list[float]] = {name: [] for name in kernels()}

        def mark() -> None:
            for name, kernel in kernels().items():
                marks[name].append(kernel.seconds())

        for kernel in kernels().values():
            kernel.seconds()
        result: Result = self.benchmark.pedantic(done, setup=mark, rounds=rounds)
        mark()
        self.benchmark.extra_info[KEY] = {
            "normaliser": by,
            "kernel_version": KERNEL_VERSION,
            "marks": marks,
            "peak_bytes": peak,
        }
        return result


def rounds_for(seconds: float) -> int:
    """As many rounds as fit into the budget, within limits."""
    return min(max(int(BUDGET_SECONDS / seconds), FEWEST_ROUNDS), MOST_ROUNDS)


def _seconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start
