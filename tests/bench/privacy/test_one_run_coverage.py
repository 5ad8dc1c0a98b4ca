"""Coverage and power of one-run audits, on mechanisms of known epsilon over T rounds.

At most 5 % of the runs may give a bound above the true epsilon. The seeds are fixed, so that a right bound never fails
here; of other seeds, one whose level were exactly 5 % would exceed it more than `TOO_HIGH` times with probability below
1e-6, and more than 5 % of the time in about half of draws. The bounds are conservative, and stay far below.
"""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binom

from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.one_run import judge_run

RUNS, CANARIES, ROUNDS, DELTA = 200, 200, 10, 1e-5
ALLOWED = RUNS // 20
TOO_HIGH = int(binom.isf(1e-6, RUNS, 0.05))

Runs = tuple[np.ndarray, np.ndarray]
"""Scores and coins `(RUNS, CANARIES)`, a run a row."""


def coins(generator: np.random.Generator) -> np.ndarray:
    return generator.integers(0, 2, (RUNS, CANARIES)).astype(bool)


def gaussian_runs(sigma: float) -> Runs:
    """The sum over the rounds of values 0 or 1 in noise of standard deviation sigma."""
    generator = np.random.default_rng(41)
    truth = coins(generator)
    noise = generator.normal(0, sigma, (RUNS, CANARIES, ROUNDS)).sum(axis=2)
    return truth * ROUNDS + noise, truth


def response_runs(epsilon: float) -> Runs:
    """How often of the rounds randomized response of this epsilon a round answers yes."""
    generator = np.random.default_rng(42)
    truth = coins(generator)
    keep = math.exp(epsilon) / (1 + math.exp(epsilon))
    return generator.binomial(ROUNDS, np.where(truth, keep, 1 - keep)).astype(float), truth


def response_epsilon(epsilon: float, delta: float) -> float:
    """Exact: the number of answers yes is sufficient, and binomial in both worlds."""
    counts, keep = np.arange(ROUNDS + 1), math.exp(epsilon) / (1 + math.exp(epsilon))
    with_, without = binom.pmf(counts, ROUNDS, keep), binom.pmf(counts, ROUNDS, 1 - keep)

    def excess(total: float) -> float:
        return float(np.maximum(with_ - math.exp(total) * without, 0).sum()) - delta

    return brentq(excess, 0, ROUNDS * epsilon)


def bounds(runs: Runs, delta: float, gaussian: bool = False) -> np.ndarray:
    return np.array([judge_run(*run, delta, gaussian=gaussian).epsilon for run in zip(*runs, strict=True)])


@pytest.mark.parametrize(("mu", "plain", "fitted"), [(0.0, 0.0, 0.0), (1.0, 0.1, 0.25), (2.0, 0.15, 0.3)])
def test_gaussian_noise_over_rounds(mu: float, plain: float, fitted: float) -> None:
    """`plain` and `fitted`: what the median bounds reach of the truth at least."""
    truth = gaussian_epsilon(1 / mu, DELTA, 1.0) if mu else 0.0
    runs = gaussian_runs(math.sqrt(ROUNDS) / mu if mu else 1e9)
    for gaussian, share in ((False, plain), (True, fitted)):
        found = bounds(runs, DELTA, gaussian)
        assert (found > truth).sum() <= ALLOWED < TOO_HIGH
        assert np.median(found) >= share * truth


@pytest.mark.parametrize(("epsilon", "share"), [(0.1, 0.0), (0.5, 0.3), (1.0, 0.3)])
def test_randomized_response_over_rounds(epsilon: float, share: float) -> None:
    """Of an epsilon of about 1 in all 200 canaries show nothing more often than not."""
    truth = response_epsilon(epsilon, DELTA)
    found = bounds(response_runs(epsilon), DELTA)
    assert (found > truth).sum() <= ALLOWED
    assert np.median(found) >= share * truth


def test_the_bound_is_tight_for_randomized_response_once() -> None:
    """One answer of epsilon: a guess is right with probability e^epsilon / (1 + e^epsilon), what the bound allows."""
    generator, epsilon = np.random.default_rng(43), 1.0
    truth = coins(generator)
    right = generator.random(truth.shape) < math.exp(epsilon) / (1 + math.exp(epsilon))
    found = bounds((np.where(right, truth, ~truth).astype(float), truth), 0.0)
    assert (found > epsilon).sum() <= ALLOWED
    assert np.median(found) > 0.5


def test_a_bound_that_makes_no_allowance_for_chance_would_be_caught() -> None:
    """What the share of right guesses itself says is above the truth in half of the runs."""
    generator, epsilon = np.random.default_rng(44), 1.0
    right = generator.binomial(CANARIES, math.exp(epsilon) / (1 + math.exp(epsilon)), RUNS) / CANARIES
    assert (np.log(right / (1 - right)) > epsilon).sum() > TOO_HIGH
