"""Intervals of the theorems' Monte Carlo: over seeds, and agreement of many points at one false-alarm rate."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from bench.privacy.audit import clopper_pearson_upper

FALSE_ALARM = 1e-3
"""Probability that points which all are as predicted are told to differ, shared out over the points (Bonferroni)."""


@dataclass(frozen=True)
class Mean:
    """A mean over seeds, its standard error and how many seeds."""

    value: float
    error: float
    count: int

    def half_width(self, level: float = 0.95) -> float:
        """Of the t interval; nan for one seed."""
        return self.error * float(stats.t.ppf((1 + level) / 2, self.count - 1)) if self.count > 1 else math.nan

    def agrees(self, predicted: float, points: int) -> bool:
        """Whether the prediction lies in the interval of this one of so many points."""
        return abs(self.value - predicted) <= self.half_width(1 - FALSE_ALARM / points) + 1e-9 * max(
            1.0, abs(predicted)
        )

    def text(self, digits: int = 3) -> str:
        return f"{self.value:.{digits}f} ± {self.half_width():.{digits}f}"


def mean_of(values: Sequence[float]) -> Mean:
    result = np.asarray(values, dtype=float)
    error = float(result.std(ddof=1) / math.sqrt(len(result))) if len(result) > 1 else math.nan
    return Mean(float(result.mean()), error, len(result))


def upper_share(hits: int, draws: int, level: float) -> float:
    """Upper end of the one-sided Clopper-Pearson interval for a probability."""
    return float(clopper_pearson_upper(np.array([hits]), draws, 1 - level)[0])
