"""Audits of a whole run: a lower bound on epsilon from many canaries in one training, each there with probability 1/2.

The adversary scores every canary, guesses those with extreme scores and abstains on the others. Privacy bounds how
many guesses can be right, whatever the adversary does: Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846) for any
mechanism, Mahloujifar, Melis and Chaudhuri 2024 (arXiv 2410.22235) for one whose trade-off curve is known, here a
Gaussian one.

How many it guesses is chosen beforehand, or by Bonferroni's correction: the best of several numbers of guesses is no
bound at the same confidence. Nothing is drawn at random.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import bdtrc, expit, ndtr, ndtri

from bench.base.arrays import as_numbers
from bench.base.errors import require
from bench.privacy.analysis.gaussian import gaussian_epsilon

_Array = NDArray[np.float64]

SHARES = (0.05, 0.2, 0.5, 1.0)
"""Shares of the canaries that are guessed: few where single guesses are almost sure, all where none is."""

PRECISION = 1e-6
"""Of a bound on epsilon, or on mu."""


@dataclass(frozen=True)
class RunVerdict:
    """A lower bound on epsilon; what it would be if every guess were right; how many canaries were guessed, and right.

    accuracy: the share of all canaries that a guess of each one by its rank gets right.
    """

    epsilon: float
    limit: float
    guesses: int
    correct: int
    accuracy: float


def one_run_p_value(canaries: int, guesses: int, correct: int, epsilon: float, delta: float) -> float:
    """How likely at least `correct` of `guesses` are right under (epsilon, delta)-privacy, at most.

    Steinke et al. 2023, Theorem 5.2: P[B >= v] + 2 m delta max over i of P[v > B >= v - i] / i, B the number of
    successes of `guesses` coins that show heads with probability e^epsilon / (1 + e^epsilon), m the canaries.
    Raises ValueError unless 0 <= correct <= guesses <= canaries, epsilon is not negative and delta lies in [0, 1).
    """
    _check(canaries, guesses, correct, delta)
    require(0 <= epsilon < math.inf, "epsilon", epsilon, "a finite number of at least 0")
    q = float(expit(epsilon))
    beyond = _at_least(correct, guesses, q)
    if delta == 0 or correct == 0:
        return min(1.0, beyond)
    steps = np.arange(1, correct + 1)
    between = _at_least_each(correct - steps, guesses, q) - beyond
    return min(1.0, beyond + 2 * canaries * delta * max(0.0, float(np.max(between / steps))))


@lru_cache(maxsize=4096)
def one_run_epsilon(canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95) -> float:
    """Lower bound on epsilon at this delta, for any mechanism: up to it so many right guesses are too unlikely.

    The data of neighbours differ by one canary that is there or not, or that has its one value or the other. 0.0 where
    nothing is shown. Without delta and with all of r guesses right it is ln(p / (1 - p)) at p = (1 - confidence)^(1/r).
    Raises ValueError as `one_run_p_value`, and unless confidence lies in (0, 1).
    """
    _check(canaries, guesses, correct, delta)
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1, both excluded")
    return _largest(lambda epsilon: one_run_p_value(canaries, guesses, correct, epsilon, delta) <= 1 - confidence)


def one_run_gaussian_epsilon(
    canaries: int, guesses: int, correct: int, delta: float, confidence: float = 0.95
) -> float:
    """The same for a mechanism that is known to be Gaussian: a sharper bound, void for any other mechanism.

    A run of Gaussian releases is one Gaussian release, of which `one_run_mu` bounds mu from below; that gives epsilon
    at this delta. Raises ValueError as `one_run_epsilon`, and at delta = 0, where every Gaussian epsilon is infinite.
    """
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
    mu = one_run_mu(canaries, guesses, correct, confidence)
    return gaussian_epsilon(1 / mu, delta, 1.0) if mu > 0 else 0.0


@lru_cache(maxsize=4096)
def one_run_mu(canaries: int, guesses: int, correct: int, confidence: float = 0.95) -> float:
    """Lower bound on mu of a mu-Gaussian-private mechanism; 0.0 where nothing is shown. Raises as `one_run_epsilon`.

    Mahloujifar et al. 2024, section 3. Let p_j be the probability of exactly j right guesses of r among m canaries,
    R_i the sum of j p_j / m over j >= i, and W_i that of (r - j) p_j / m. Another value of a canary that was guessed
    right makes the guess wrong, and takes one from the number: so W_i >= f(R_(i+1)), f(x) = Phi(Phi^-1(x) - mu) the
    least probability that f-privacy leaves (it is convex, so that it holds of the mean over the canaries). Were
    `correct` or more right with a probability of 1 - confidence, R_0 + W_0 would have to be at least what follows from
    that, and it is r / m.
    """
    _check(canaries, guesses, correct, 0.0)
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1, both excluded")
    return _largest(lambda mu: _too_unlikely(canaries, guesses, correct, 1 - confidence, mu))


def _too_unlikely(canaries: int, guesses: int, correct: int, tail: float, mu: float) -> bool:
    """Whether mu-Gaussian privacy has no room for `correct` or more right guesses with probability `tail`."""
    right, wrong = tail * correct / canaries, tail * (guesses - correct) / canaries
    for count in range(correct - 1, -1, -1):
        needed = float(ndtr(ndtri(min(right, 1.0)) - mu))
        if needed <= wrong:
            break
        right += count / (guesses - count) * (needed - wrong)
        wrong = needed
        if right + wrong > guesses / canaries:
            return True
    return right + wrong > guesses / canaries


def judge_run(
    scores: ArrayLike, included: ArrayLike, delta: float, confidence: float = 0.95, gaussian: bool = False
) -> RunVerdict:
    """What the scores `(m,)` prove of canaries that were `included (m,)`; large scores speak for those.

    Of each share in `SHARES` the canaries with the largest scores are guessed as there, as many with the smallest ones
    as not there. The bound is the best over the shares, each at (1 - confidence) / number of shares.

    Raises ValueError unless there are two canaries at least, as many truths as scores, and no NaN; and as
    `one_run_epsilon` or, where the mechanism is `gaussian`, `one_run_gaussian_epsilon`.
    """
    values, truth = as_numbers(scores, "scores"), as_numbers(included, "included").astype(bool)
    fits = values.ndim == 1 and len(values) >= 2 and values.shape == truth.shape
    require(fits, "scores", values.shape, f"one-dimensional, at least 2, and as many as included has: {truth.shape}")
    require(not np.isnan(values).any(), "scores", "NaN", "numbers")
    require(0 < confidence < 1, "confidence", confidence, "between 0 and 1, both excluded")
    m, order = len(values), np.argsort(values, kind="stable")
    bound = one_run_gaussian_epsilon if gaussian else one_run_epsilon
    each = 1 - (1 - confidence) / len(SHARES)
    best, limit = (-1.0, 0, 0), 0.0
    for half in sorted({max(1, int(share * m) // 2) for share in SHARES}):
        correct = int(truth[order[m - half :]].sum() + (~truth[order[:half]]).sum())
        best = max(best, (bound(m, 2 * half, correct, delta, each), 2 * half, correct))
        limit = max(limit, bound(m, 2 * half, 2 * half, delta, each))
    above = np.zeros(m, dtype=bool)
    above[order[m - m // 2 :]] = True
    return RunVerdict(best[0], limit, best[1], best[2], float((above == truth).mean()))


def _largest(rejected: Callable[[float], bool]) -> float:
    """Up to where, from 0 on, values are rejected, rounded down; 0.0 where none is."""
    if not rejected(0.0):
        return 0.0
    low, high = 0.0, 1.0
    while rejected(high):
        low, high = high, 2 * high
    while high - low > PRECISION * max(1.0, low):
        middle = (low + high) / 2
        low, high = (middle, high) if rejected(middle) else (low, middle)
    return low


def _at_least(count: int, trials: int, q: float) -> float:
    """P[Binomial(trials, q) >= count]."""
    return float(_at_least_each(np.array([count]), trials, q)[0])


def _at_least_each(counts: NDArray[np.intp], trials: int, q: float) -> _Array:
    """P[Binomial(trials, q) >= count] of each of the counts `(k,)`."""
    return np.where(counts <= 0, 1.0, bdtrc(np.maximum(counts - 1, 0), trials, q))


def _check(canaries: int, guesses: int, correct: int, delta: float) -> None:
    counts = f"0 <= correct <= guesses <= canaries with 1 guess at least, not {correct}, {guesses}, {canaries}"
    require(0 <= correct <= guesses <= canaries and guesses >= 1, "correct", correct, counts)
    require(0 <= delta < 1, "delta", delta, "in [0, 1)")
