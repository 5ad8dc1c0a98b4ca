"""What a round costs, measured: a plain one at once, then how it grows with the clients and with the parameters."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.submission.probe import CLIENTS, DIM
from bench.submission.problems import BrokenError, Note, StepError

SMALL_SECONDS = 2.0
"""What a round of 20 messages with 50 numbers may take; the slowest shipped rule takes a hundredth of it."""

ROUND_SECONDS = 10.0
"""What a round may take at the sizes below, or at the suite's own."""

CLIENT_COUNTS = (16, 32, 64)
DIMS = (2_000, 8_000, 32_000)
LARGEST = 10**8
"""Entries of the messages, up to which the suite's own size is tried."""

SHORTEST = 1e-7
"""Seconds that no round is shorter than, so that there is a logarithm."""

Prepare = Callable[[int, int], Callable[[], object]]
"""For so many clients and parameters, a function that plays a round; what it takes to prepare one does not count."""


def prompt(prepare: Prepare) -> str:
    """A small round ends at once: checked first, so that whatever follows ends too."""
    seconds = _timed(prepare, CLIENTS, DIM).wall
    if seconds > SMALL_SECONDS:
        limit = f"more than the {SMALL_SECONDS:g} that it may"
        raise BrokenError(f"a round of {CLIENTS} messages with {DIM} numbers takes {seconds:.1f} seconds, {limit}")
    return f"a round of {CLIENTS} messages with {DIM} numbers takes {1e3 * seconds:.1f} ms"


def growth(prepare: Prepare, size: tuple[int, int]) -> str:
    """Times over n and over d, as powers; a failure only where a round takes longer than `ROUND_SECONDS`."""
    over_n = {n: _bounded(prepare, n, DIMS[0]) for n in CLIENT_COUNTS}
    over_d = {d: _bounded(prepare, CLIENT_COUNTS[0], d) for d in DIMS}
    powers = f"time grows like n^{_power(over_n):.1f} and d^{_power(over_d):.1f}"
    measured = f"{powers} (n from 16 to 64 at d = 2000, d from 2000 to 32000 at n = 16)"
    if math.prod(size) > LARGEST:
        raise Note(f"{measured}; the suite's own size, {size[0]} x {size[1]}, was not tried here")
    own = _bounded(prepare, *size).wall
    return f"{measured}; {1e3 * own:.1f} ms a round at the suite's size, {size[0]} clients and {size[1]} parameters"


@dataclass(frozen=True)
class Time:
    """Seconds by the clock, which limits are about, and of the processor, which others that run beside change less."""

    wall: float
    processor: float


def _bounded(prepare: Prepare, clients: int, dim: int) -> Time:
    try:
        result = _timed(prepare, clients, dim)
    except StepError as error:
        raise Note(f"not measured to the end: at {clients} clients and {dim} parameters {error}") from None
    if result.wall > ROUND_SECONDS:
        limit = f"more than the {ROUND_SECONDS:g} that it may"
        raise BrokenError(f"a round of {clients} messages with {dim} numbers takes {result.wall:.1f} seconds, {limit}")
    return result


def _timed(prepare: Prepare, clients: int, dim: int) -> Time:
    """The least of three rounds, or of one where that is long."""
    play = prepare(clients, dim)
    least = Time(math.inf, math.inf)
    for _ in range(3):
        before = time.perf_counter(), time.process_time()
        play()
        taken = time.perf_counter() - before[0], time.process_time() - before[1]
        least = Time(min(least.wall, taken[0]), min(least.processor, max(taken[1], SHORTEST)))
        if least.wall > SMALL_SECONDS / 4:
            break
    return least


def _power(times: dict[int, Time]) -> float:
    """The exponent between the first and the last."""
    (small, fast), (large, slow) = min(times.items(), key=_size), max(times.items(), key=_size)
    return math.log(slow.processor / fast.processor) / math.log(large / small)


def _size(one: tuple[int, Time]) -> int:
    return one[0]
