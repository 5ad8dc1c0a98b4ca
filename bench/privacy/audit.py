"""Audits: a lower bound on epsilon from how well an adversary tells two worlds apart.

The adversary scores runs of the world without the record (or client) and runs of the world with it. A threshold on
the score is a test between the worlds, and privacy bounds every test's error rates: so measured error rates bound
epsilon from below (Jagielski et al. 2020; Nasr et al. 2021). The rows must be independent runs.

Even rows choose the threshold and the side that it accepts, odd rows measure its error rates: choosing and measuring
on the same rows would break the confidence level. The choice is by bounds that allow for the number of candidates, lest
it be a fluke of the tail, which costs power and not confidence. Nothing is drawn at random.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri

from bench.base.arrays import as_numbers
from bench.base.errors import require
from bench.privacy.analysis.gaussian import gaussian_epsilon

_Array = NDArray[np.float64]

GAUSSIAN_CHOICE = (1.0,)
"""Caution of the choice for a Gaussian mechanism, whose trade-off is as well measured in the middle as in the tails."""

PLAIN_CHOICE = (0.25, 0.0)
"""Caution for any mechanism: what proves most lies in the tails; where nothing is shown with it, the choice is without.

There the trivial test, which accepts all, would beat every other: its bound is never far below 0.
"""


@dataclass(frozen=True)
class Verdict:
    """A lower bound on epsilon, and the error rates that it was measured at (the shares seen, not their bounds).

    limit: what the bound would be without a single error, the most that so many runs can prove.
    """

    epsilon: float
    limit: float
    true_positive_rate: float
    false_positive_rate: float


def audit_epsilon(scores_without: ArrayLike, scores_with: ArrayLike, delta: float, confidence: float = 0.95) -> float:
    """Lower bound on epsilon at this delta that holds with at least this confidence; 0.0 where nothing is shown.

    Both error rates get a one-sided Clopper-Pearson bound at (1 - confidence) / 2, and epsilon is at least
    ln((TPR - delta) / FPR) and ln((TNR - delta) / FNR) (Jagielski et al. 2020, section 4; Nasr et al. 2021,
    section 4). With m measuring rows it cannot exceed about ln(m / ln(2 / (1 - confidence))).

    Raises ValueError unless both score lists are one-dimensional with at least 2 numbers and no NaN, delta lies in
    [0, 1) and confidence in (0, 1).
    """
    return judge(scores_without, scores_with, delta, confidence).epsilon


def audit_gaussian_epsilon(
    scores_without: ArrayLike, scores_with: ArrayLike, delta: float, confidence: float = 0.95
) -> float:
    """The same for a mechanism that is known to be Gaussian: a sharper bound, void for any other mechanism.

    A mu-Gaussian-private mechanism keeps Phi^-1(1 - FPR) - Phi^-1(FNR) at most mu, so the two Clopper-Pearson bounds
    give a lower bound on mu, and that gives epsilon at this delta (Nasr et al. 2023, section 4).

    Raises ValueError as `audit_epsilon`, and at delta = 0, where every Gaussian epsilon is infinite.
    """
    return judge(scores_without, scores_with, delta, confidence, gaussian=True).epsilon


def judge(
    scores_without: ArrayLike, scores_with: ArrayLike, delta: float, confidence: float = 0.95, gaussian: bool = False
) -> Verdict:
    """`audit_epsilon`, or `audit_gaussian_epsilon`, with the rates behind it; raises ValueError as they do."""
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1, both excluded")
    without, with_ = _scores("scores_without", scores_without), _scores("scores_with", scores_with)
    if gaussian:
        require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
        *mus, rates = _audit(without, with_, confidence, lambda fpr, fnr: ndtri(1 - fpr) - ndtri(fnr), GAUSSIAN_CHOICE)
        result, limit = (gaussian_epsilon(1 / mu, delta, 1.0) if mu > 0 else 0.0 for mu in mus)
        return Verdict(result, limit, *rates)
    require(0 <= delta < 1, "delta", delta, "in [0, 1)")

    def epsilon(fpr: _Array, fnr: _Array) -> _Array:
        ratio = np.maximum((1 - fnr - delta) / fpr, (1 - fpr - delta) / fnr)
        return np.log(np.maximum(ratio, np.finfo(np.float64).tiny))

    result, limit, rates = _audit(without, with_, confidence, epsilon, PLAIN_CHOICE)
    return Verdict(result, limit, *rates)


def _audit(
    without: _Array,
    with_: _Array,
    confidence: float,
    evidence: Callable[[_Array, _Array], _Array],
    cautions: tuple[float, ...],
) -> tuple[float, float, tuple[float, float]]:
    """Evidence, a function of bounds on the false positive and negative rate, at the threshold chosen beforehand.

    The bounds that choose have (2 candidates)^caution times less tail than those that measure: at 0 the best of many
    candidates is mostly a fluke far out, where few scores lie; 1 is Bonferroni's correction for both sides. The first
    of the `cautions` that shows anything chooses, the last where none does. With it the evidence that there would be
    without an error, and the shares of true and of false positives.
    """
    tail = (1 - confidence) / 2

    def positives(side: int, rows: slice, thresholds: _Array) -> list[tuple[NDArray[np.intp], int]]:
        ordered = [np.sort(side * scores[rows]) for scores in (without, with_)]
        return [(len(scores) - np.searchsorted(scores, thresholds, side="right"), len(scores)) for scores in ordered]

    def bounded(counts: list[tuple[NDArray[np.intp], int]], tail: float) -> _Array:
        (false, negatives), (true, trials) = counts
        fpr = clopper_pearson_upper(false, negatives, tail)
        return evidence(fpr, clopper_pearson_upper(trials - true, trials, tail))

    choose, measure = slice(0, None, 2), slice(1, None, 2)
    best, candidates = (-math.inf, 0, 0.0), []
    for side in (1, -1):
        seen = np.unique(side * np.concatenate([without[choose], with_[choose]]))
        thresholds = np.append(seen[:-1] / 2 + seen[1:] / 2, seen[-1])  # mid-gap, lest the next run fall just beyond
        candidates.append((side, thresholds, positives(side, choose, thresholds)))
    for caution in cautions:
        best = (-math.inf, 0, 0.0)
        for side, thresholds, counts in candidates:
            result = bounded(counts, tail / (2 * len(thresholds)) ** caution)
            best = max(best, (float(result.max()), side, float(thresholds[result.argmax()])))
        if best[0] > 0:
            break
    _, side, threshold = best
    counts = positives(side, measure, np.array([threshold]))
    (false, negatives), (true, trials) = counts
    rates = float(true[0] / trials), float(false[0] / negatives)
    faultless = bounded([(np.array([0]), negatives), (np.array([trials]), trials)], tail)
    return max(0.0, float(bounded(counts, tail)[0])), max(0.0, float(faultless[0])), rates


def clopper_pearson_upper(successes: NDArray[np.intp], trials: int, tail: float) -> _Array:
    """Upper end of the exact binomial interval that the true rate exceeds with probability at most `tail`."""
    failures = np.maximum(trials - successes, 1)
    return np.where(successes < trials, betaincinv(successes + 1, failures, 1 - tail), 1.0)


def _scores(name: str, scores: ArrayLike) -> _Array:
    array = as_numbers(scores, name)
    result = f"an array of shape {array.shape}" if not np.isnan(array).any() else "an array with NaN"
    valid = array.ndim == 1 and len(array) >= 2 and not np.isnan(array).any()
    require(valid, name, result, "one-dimensional, with at least 2 scores and no NaN")
    return np.nan_to_num(array)  # infinite scores become the largest finite ones, so that midpoints exist
