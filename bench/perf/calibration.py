"""Calibration kernels: what a machine can do at most, timed beside every benchmark so that its times become ratios.

A matrix product stands for arithmetic, an addition of arrays larger than a core's cache for memory. Neither draws a
random number nor allocates, so their times depend on the machine and on what else runs there, and on nothing of ours.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch

from bench.base.device import synchronise

KERNEL_VERSION = 1
"""Raised whenever a kernel changes: figures over different kernels do not compare."""

KERNELS = ("matmul", "stream")

SIDE = 768
STREAM_FLOATS = 2**22

Normaliser = Literal["matmul", "stream", "mixed"]

NORMALISERS: dict[Normaliser, tuple[str, ...]] = {
    "matmul": ("matmul",),
    "stream": ("stream",),
    "mixed": ("matmul", "stream"),
}
"""The kernels whose geometric mean a benchmark's time is divided by."""


@dataclass(frozen=True)
class Kernel:
    """A kernel with its buffers; `work` is what one call does, in `unit`s."""

    run: Callable[[], object]
    work: float
    unit: str

    def seconds(self) -> float:
        """Seconds of the better of two calls: the first one may have to fetch what the benchmark has driven out."""
        return min(_clock(self.run), _clock(self.run))

    def rate(self, seconds: float) -> str:
        """Work a second, for people."""
        return f"{self.work / seconds / 1e9:.1f} G{self.unit}/s"


@cache
def kernels() -> dict[str, Kernel]:
    """Both kernels, their buffers filled, on the device at hand; made once a process."""
    left, right, product = (torch.full((SIDE, SIDE), value) for value in (0.5, 0.25, 0.0))
    first, second, total = (torch.full((STREAM_FLOATS,), value) for value in (0.5, 0.25, 0.0))
    return {
        "matmul": Kernel(lambda: torch.mm(left, right, out=product), 2 * SIDE**3, "FLOP"),
        "stream": Kernel(lambda: torch.add(first, second, out=total), 3 * 4 * STREAM_FLOATS, "B"),
    }


def combine(normaliser: Normaliser, marks: Mapping[str, Sequence[float]]) -> list[float]:
    """The geometric mean, mark by mark, of the kernels that `normaliser` names."""
    chosen = [marks[name] for name in NORMALISERS[normaliser]]
    return [math.prod(row) ** (1 / len(row)) for row in zip(*chosen, strict=True)]


def _clock(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    synchronise()
    return time.perf_counter() - start
