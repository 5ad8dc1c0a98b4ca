"""A metric's mean over the seeds of each (row, column), with its interval."""

import math
from dataclasses import dataclass

import pandas as pd
from scipy import stats

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % t interval (nan for a single seed)."""

    mean: float
    half_width: float
    seeds: int
    failed: int  # seeds that failed or diverged; they are never averaged in
    within_claim: bool = True

    @property
    def score(self) -> float:
        """What ranks: the mean, but 0 as soon as one seed failed, and nan where nothing was measured."""
        return 0.0 if self.failed else self.mean

    def text(self, scale: float = 100.0, digits: int = 1) -> str:
        """`87.1 ± 0.6`; a dagger where the defense does not claim to stand it; what failed is said."""
        width = "" if math.isnan(self.half_width) else f" ± {self.half_width * scale:.{digits}f}"
        mark = "" if self.within_claim else " †"
        return self.with_failures(f"{self.mean * scale:z.{digits}f}{width}") + mark

    def with_failures(self, number: str) -> str:
        """A number with how many seeds failed; `failed` where all did, a dash where nothing was measured."""
        if self.seeds == 0:
            return "failed" if self.failed else "–"
        return number + (f" ({self.failed} failed)" if self.failed else "")


Estimates = dict[tuple[str, str], Estimate]
"""By (row, column)."""

MISSING = Estimate(math.nan, math.nan, seeds=0, failed=0)


def estimates(frame: pd.DataFrame, metric: str) -> Estimates:
    """The metric's estimate for every (row, column) that the frame has records of."""
    groups = frame.groupby(["defense", "column"])
    return {(str(row), str(column)): _estimate(cells, metric) for (row, column), cells in groups}


def _estimate(cells: pd.DataFrame, metric: str) -> Estimate:
    finished = cells[cells["status"] == "ok"]
    values = finished.reindex(columns=[metric])[metric].dropna().to_numpy(dtype=float)
    half_width = math.nan
    if len(values) > 1:
        half_width = float(stats.t.ppf((1 + CONFIDENCE) / 2, df=len(values) - 1) * stats.sem(values))
    return Estimate(
        mean=float(values.mean()) if len(values) else math.nan,
        half_width=half_width,
        seeds=len(values),
        failed=len(cells) - len(finished),
        within_claim=bool(cells["within_claim"].ne(False).all()),  # a defense that says nothing is not beyond its claim
    )
