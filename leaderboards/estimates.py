"""A metric's mean over the seeds of each (row, column), or a share of images over all of them, with its interval."""

import math
from dataclasses import dataclass, replace
from functools import cache
from typing import cast

import numpy as np
import pandas as pd
from numpy.typing import NDArray

CONFIDENCE = 0.95
NORMAL = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""
Array = NDArray[np.float64]
FRACTIONS = (
    *("accuracy", "backdoor_success", "membership_auc", "model_accuracy"),
    *("worst_class_accuracy", "worst_tenth_accuracy"),
)
"""Metrics that are never below 0 or above 1, nor are their intervals."""


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and the half width of its 95 % t interval (nan for a single seed).

    `low` and `high` are the ends of the interval of a share of images, and of a t interval that reaches below 0 or
    above 1 where the metric cannot; nan in any other estimate.
    """

    mean: float
    half_width: float
    seeds: int
    failed: int  # seeds that failed or diverged; they are never averaged in
    within_claim: bool = True
    low: float = math.nan
    high: float = math.nan

    @property
    def score(self) -> float:
        """What ranks: the mean, but 0 as soon as one seed failed, and nan where nothing was measured."""
        return 0.0 if self.failed else self.mean

    @property
    def ends(self) -> tuple[float, float]:
        """Of the interval; the mean twice where a single seed has none."""
        if not math.isnan(self.low):
            return self.low, self.high
        reach = 0.0 if math.isnan(self.half_width) else self.half_width
        return self.mean - reach, self.mean + reach

    def text(self, scale: float = 100.0, digits: int = 1) -> str:
        """`87.1 ± 0.6`, or `98.5 [95.1, 100.0]`; a dagger beyond what the defense claims; what failed."""
        width = "" if math.isnan(self.half_width) else f" ± {self.half_width * scale:.{digits}f}"
        ends = [f"{end * scale:z.{digits}f}" for end in (self.low, self.high)]
        if not math.isnan(self.low) and ends[0] != ends[1]:
            width = f" [{', '.join(ends)}]"
        mark = "" if self.within_claim else " †"
        return self.with_failures(f"{self.mean * scale:z.{digits}f}{width}") + mark

    def share(self) -> str:
        """`48% [35, 61]`; a dash where nothing was measured."""
        if math.isnan(self.mean):
            return "–"
        return f"{self.mean:.0%} [{self.low * 100:.0f}, {self.high * 100:.0f}]"

    def with_failures(self, number: str) -> str:
        """A number with how many seeds failed; `failed` where all did, a dash where nothing was measured."""
        if self.seeds == 0:
            return "failed" if self.failed else "–"
        return number + (f" ({self.failed} failed)" if self.failed else "")


Place = tuple[str, str]
"""Row and column."""
Positions = NDArray[np.intp]
Estimates = dict[Place, Estimate]

MISSING = Estimate(math.nan, math.nan, seeds=0, failed=0)


def estimates(frame: pd.DataFrame, metric: str) -> Estimates:
    """The metric's estimate for every (row, column) that the frame has records of."""
    needed = _needed(frame, metric)
    values, ok = needed[metric].to_numpy(dtype=float), (needed["status"] == "ok").to_numpy()
    # a defense that says nothing is not beyond its claim
    within, finished = needed["within_claim"].ne(False).to_numpy(), ok & ~np.isnan(values)
    return {
        place: replace(
            of_values(values[at[finished[at]]], metric),
            failed=int((~ok[at]).sum()),
            within_claim=bool(within[at].all()),
        )
        for place, at in _places(needed)
    }


def shares(frame: pd.DataFrame, metric: str) -> Estimates:
    """The same for a share of the images of each record: over the images of all seeds, with the interval of `interval`.

    Records of one seed are about the same images, which count once.
    """
    needed = _needed(frame, metric)
    finished = ((needed["status"] == "ok") & needed[metric].notna()).to_numpy()
    result = estimates(frame, metric)
    return {place: _pooled(result[place], needed.iloc[at[finished[at]]], metric) for place, at in _places(needed)}


def _needed(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The columns that estimates read: of a share every (row, column) is copied, and a frame has ten times as many."""
    read = ("defense", "column", "seed", "status", "within_claim", "images", metric)
    return frame.reindex(columns=list(dict.fromkeys(read)))


def _places(frame: pd.DataFrame) -> list[tuple[Place, Positions]]:
    """Every (row, column) of the frame, sorted, and where its records stand there."""
    groups = cast("dict[Place, Positions]", frame.groupby(["defense", "column"]).indices)
    return [((str(row), str(column)), at) for (row, column), at in sorted(groups.items())]


def of_values(values: Array, metric: str) -> Estimate:
    """The metric's estimate from its values `(k,)` in k seeds, all of which finished."""
    half_width = math.nan
    if len(values) > 1:
        half_width = float(_quantile(len(values) - 1) * (np.std(values, ddof=1) / len(values) ** 0.5))
    mean = float(values.mean()) if len(values) else math.nan
    low, high = mean - half_width, mean + half_width
    cut = metric in FRACTIONS and (low < 0 or high > 1)
    return Estimate(
        mean=mean,
        low=max(0.0, low) if cut else math.nan,
        high=min(1.0, high) if cut else math.nan,
        half_width=half_width,
        seeds=len(values),
        failed=0,
    )


@cache
def _quantile(degrees: int) -> float:
    """Of Student's t: how many standard errors the interval reaches to each side."""
    from scipy import stats  # here, because loading it takes long, and a run makes its boards last

    return float(stats.t.ppf((1 + CONFIDENCE) / 2, df=degrees))


def _pooled(found: Estimate, finished: pd.DataFrame, metric: str) -> Estimate:
    found = replace(found, half_width=math.nan, low=math.nan, high=math.nan)
    by_seed = finished.groupby("seed")
    images, recovered = by_seed["images"].first(), by_seed[metric].mean()
    if not len(images):
        return found
    mean = float((recovered * images).sum() / images.sum())
    low, high = interval(recovered.to_numpy(dtype=float), images.to_numpy(dtype=float))
    return replace(found, mean=mean, low=low, high=high)


def interval(shares: Array, images: Array) -> tuple[float, float]:
    """The 95 % interval of a share, from those `(k,)` of the `images (k,)` of k seeds: Wilson's of an effective number.

    Images of a seed share a model and its colluders. The effective number is theirs over the design effect, the
    variance of the share between seeds over that of independent images, where it is above 1; then, because k seeds
    know that variance poorly, times (t_{n - 1} / t_{k - 1})^2 (Korn and Graubard 1998; Wilson's form: Dean and Pagano
    2015).
    One seed alone says nothing of the design effect, and its images count as independent.
    """
    k, n = len(shares), float(images.sum())
    share = float((shares * images).sum() / n)
    if k > 1:
        between = k / (k - 1) * float((((images / n) * (shares - share)) ** 2).sum())
        independent = share * (1 - share) / n
        effect = max(1.0, between / independent) if independent > 0 else 1.0
        n = n / effect * (_quantile(round(n) - 1) / _quantile(k - 1)) ** 2
    return wilson(share, n)


def wilson(share: float, images: float) -> tuple[float, float]:
    """Wilson's 95 % interval (1927) of a share of so many independent images, which need not be a whole number."""
    z2 = NORMAL**2
    middle = share + z2 / (2 * images)
    reach = NORMAL * math.sqrt(share * (1 - share) / images + z2 / (4 * images**2))
    scale = 1 + z2 / images
    return max(0.0, (middle - reach) / scale), min(1.0, (middle + reach) / scale)
