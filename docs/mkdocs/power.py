"""What one-run audits prove of mechanisms whose epsilon is known: `python docs/mkdocs/power.py` writes the table's CSV.

Seconds. `pages.py` puts it into docs/privacy.md.
"""

import csv
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.stats import binom

from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.one_run import judge_run

POWER = Path(__file__).with_name("power.csv")
HEAD = ("mechanism", "epsilon", "canaries", "bound", "median", "above")
RUNS, ROUNDS, DELTA = 200, 50, 1e-5
EPSILONS, CANARIES = (1.0, 2.0, 4.0, 8.0), (100, 500, 2000)

Scores = Callable[[NDArray[np.bool_], np.random.Generator], NDArray[np.float64]]
"""Of canaries `(m,)` by their coins."""


def gaussian(epsilon: float) -> Scores:
    """0 or 1 in Gaussian noise, ROUNDS times: the sum is sufficient."""
    mu = brentq(lambda mu: gaussian_epsilon(1 / mu, DELTA, 1.0) - epsilon, 1e-3, 50)
    return lambda truth, draws: mu * truth + draws.normal(size=truth.shape)


def responses(epsilon: float) -> Scores:
    """Randomized response, ROUNDS times: the number of answers yes is sufficient."""
    counts = np.arange(ROUNDS + 1)

    def delta(keep: float) -> float:
        with_, without = binom.pmf(counts, ROUNDS, keep), binom.pmf(counts, ROUNDS, 1 - keep)
        return float(np.maximum(with_ - math.exp(epsilon) * without, 0).sum())

    keep = brentq(lambda keep: delta(keep) - DELTA, 0.5, 0.99)
    return lambda truth, draws: draws.binomial(ROUNDS, np.where(truth, keep, 1 - keep)).astype(float)


MECHANISMS: dict[str, tuple[Callable[[float], Scores], tuple[bool, ...]]] = {
    "Gaussian noise": (gaussian, (False, True)),
    "randomized response": (responses, (False,)),
}


def line(mechanism: str, epsilon: float, canaries: int, fitted: bool) -> tuple[str, ...]:
    """One line of the table: the median bound, and the share of the runs whose bound is above the truth."""
    scores, draws = MECHANISMS[mechanism][0](epsilon), np.random.default_rng(canaries)
    results = []
    for _ in range(RUNS):
        truth = draws.integers(0, 2, canaries).astype(bool)
        results.append(judge_run(scores(truth, draws), truth, DELTA, gaussian=fitted).epsilon)
    bound, above = "Gaussian" if fitted else "any", sum(one > epsilon for one in results)
    return mechanism, f"{epsilon:g}", str(canaries), bound, f"{np.median(results):.2f}", str(above)


def main() -> None:
    """Write all lines."""
    lines = [
        line(mechanism, epsilon, canaries, fitted)
        for mechanism, (_, fits) in MECHANISMS.items()
        for fitted in fits
        for epsilon in EPSILONS
        for canaries in CANARIES
    ]
    with POWER.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([HEAD, *lines])


if __name__ == "__main__":
    main()
