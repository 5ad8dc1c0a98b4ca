"""From rounds to a figure, from two figures to a verdict.

A figure is a median of medians: each round's time over the kernels' geometric mean just before and just after it, the
median of those ratios over the rounds of a pass, the median over passes (processes of their own), and as its spread
what the passes themselves said.
"""

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import Literal, NamedTuple

TRIMMED_OF = 5
"""Passes for each one that is left out at either end of a spread: none of three or four, one of five."""

Verdict = Literal["slower", "faster", "same"]


class Spread(NamedTuple):
    """A middle value and what it might as well have been."""

    middle: float
    low: float
    high: float


def normalised(times: Sequence[float], marks: Sequence[float]) -> float:
    """Median over rounds of t_i / sqrt(c_i c_{i+1}); `marks` are the r + 1 calibrations around the r rounds."""
    if len(marks) != len(times) + 1 or not times:
        raise ValueError(f"{len(times)} rounds have {len(marks)} marks, but must have one more than rounds")
    around = (math.sqrt(before * after) for before, after in pairwise(marks))
    return median(time / mark for time, mark in zip(times, around, strict=True))


def over_passes(values: Sequence[float]) -> Spread:
    """The median over passes, and their range without the outermost ones where there are enough."""
    ordered = sorted(values)
    trimmed = len(ordered) // TRIMMED_OF
    return Spread(median(ordered), ordered[trimmed], ordered[-1 - trimmed])


def ratio(new: Spread, base: Spread) -> Spread:
    """New over base: of the middles, and at least and at most."""
    return Spread(new.middle / base.middle, new.low / base.high, new.high / base.low)


def verdict(found: Spread, threshold: float) -> Verdict:
    """Slower where the whole interval is above 1 + threshold, faster where it is below the inverse."""
    if found.low > 1 + threshold:
        return "slower"
    return "faster" if found.high < 1 / (1 + threshold) else "same"


def disturbance(marks: Sequence[float]) -> float:
    """A kernel's median time over its tenth percentile: near 1 on a quiet machine."""
    ordered = sorted(marks)
    return median(ordered) / ordered[len(ordered) // 10]
