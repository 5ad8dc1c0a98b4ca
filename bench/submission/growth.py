"""What a round costs, measured: a plain one at once, then how it grows with the clients and with the parameters."""

import math
import time

import torch

from bench.submission.probe import CLIENTS, DIM, StepError, Subject, inputs, play
from bench.submission.problems import BrokenError, Note

SMALL_SECONDS = 2.0
"""What a round of 20 messages with 50 numbers may take; the slowest shipped rule takes a hundredth of it."""

ROUND_SECONDS = 10.0
"""What a round may take at the sizes below, or at the suite's own."""

CLIENT_COUNTS = (16, 32, 64)
DIMS = (2_000, 8_000, 32_000)
LARGEST = 10**8
"""Entries of the messages, up to which the suite's own size is tried."""


def prompt(subject: Subject) -> str:
    """A small round ends at once: checked first, so that whatever follows ends too."""
    seconds = _seconds(subject, CLIENTS, DIM)
    if seconds > SMALL_SECONDS:
        limit = f"more than the {SMALL_SECONDS:g} that it may"
        raise BrokenError(f"a round of {CLIENTS} messages with {DIM} numbers takes {seconds:.1f} seconds, {limit}")
    return f"a round of {CLIENTS} messages with {DIM} numbers takes {1e3 * seconds:.1f} ms"


def growth(subject: Subject, size: tuple[int, int]) -> str:
    """Times over n and over d, as powers; a failure only where a round takes longer than `ROUND_SECONDS`."""
    over_n = {n: _bounded(subject, n, DIMS[0]) for n in CLIENT_COUNTS}
    over_d = {d: _bounded(subject, CLIENT_COUNTS[0], d) for d in DIMS}
    powers = f"time grows like n^{_power(over_n):.1f} and d^{_power(over_d):.1f}"
    measured = f"{powers} (n from 16 to 64 at d = 2000, d from 2000 to 32000 at n = 16)"
    if math.prod(size) > LARGEST:
        raise Note(f"{measured}; the suite's own size, {size[0]} x {size[1]}, was not tried here")
    own = _bounded(subject, *size)
    return f"{measured}; {1e3 * own:.1f} ms a round at the suite's size, {size[0]} clients and {size[1]} parameters"


def _bounded(subject: Subject, clients: int, dim: int) -> float:
    try:
        seconds = _seconds(subject, clients, dim)
    except StepError as error:
        raise Note(f"not measured to the end: at {clients} clients and {dim} parameters {error}") from None
    if seconds > ROUND_SECONDS:
        limit = f"more than the {ROUND_SECONDS:g} that it may"
        raise BrokenError(f"a round of {clients} messages with {dim} numbers takes {seconds:.1f} seconds, {limit}")
    return seconds


def _seconds(subject: Subject, clients: int, dim: int) -> float:
    """The least of three rounds, or of one where that is long."""
    given = inputs(clients, dim, torch.float32)
    least = math.inf
    for _ in range(3):
        started = time.perf_counter()
        play(subject, given)
        least = min(least, time.perf_counter() - started)
        if least > SMALL_SECONDS / 4:
            break
    return least


def _power(times: dict[int, float]) -> float:
    """The exponent between the first and the last."""
    (small, fast), (large, slow) = min(times.items()), max(times.items())
    return math.log(slow / fast) / math.log(large / small)
