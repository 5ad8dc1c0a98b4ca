"""The bounds of one-run audits: values of an independent library, closed forms, and what must hold of any number."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm

from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.one_run import (
    SHARES,
    judge_run,
    one_run_epsilon,
    one_run_gaussian_epsilon,
    one_run_mu,
    one_run_p_value,
)

REFERENCE = [
    (100, 50, 45, 0.05, 1e-5, 1.3927909762894453, 2.7930206042037895, 0.003249361729548418),
    (500, 500, 420, 0.05, 1e-5, 1.4531635809736718, 2.8153088853558303, 0.00013537111324617797),
    (500, 100, 97, 0.05, 1e-4, 2.4511345732969203, 3.686312196165824, 0.003098199629255585),
    (1000, 200, 150, 0.05, 1e-6, 0.8212543847531151, 1.4769311077386698, 0.3033112080909583),
    (1000, 1000, 560, 0.0125, 1e-5, 0.09601860007604329, 0.16762402053244457, 1.0),
]
"""Canaries, guesses, right ones, significance, delta; epsilon for any mechanism, for a Gaussian one; p at epsilon 1.

From google-deepmind/jax_privacy at 8967688c (20 August 2026), `jax_privacy/auditing.py`: `_epsilon_one_run(0, ...)`,
`_epsilon_one_run_fdp(0, ...)` and `_one_run_p_value(..., 1.0, delta)`; the file needs scipy and dp-accounting, no jax.
"""


@pytest.mark.parametrize(("m", "r", "v", "level", "delta", "plain", "gaussian", "p"), REFERENCE)
def test_as_jax_privacy_has_it(
    m: int, r: int, v: int, level: float, delta: float, plain: float, gaussian: float, p: float
) -> None:
    assert one_run_epsilon(m, r, v, delta, 1 - level) == pytest.approx(plain, abs=5e-6)
    assert one_run_gaussian_epsilon(m, r, v, delta, 1 - level) == pytest.approx(gaussian, abs=5e-5)
    assert one_run_p_value(m, r, v, 1.0, delta) == pytest.approx(p, rel=1e-9)


@pytest.mark.parametrize("guesses", [1, 10, 300])
def test_faultless_guesses_prove_what_coins_say(guesses: int) -> None:
    """Without delta all of r guesses are right with probability at most (e^epsilon / (1 + e^epsilon))^r."""
    p = 0.05 ** (1 / guesses)
    assert one_run_epsilon(500, guesses, guesses, 0.0) == pytest.approx(max(0.0, math.log(p / (1 - p))), abs=1e-5)


def test_the_p_value_is_the_papers_sum() -> None:
    """Steinke et al. 2023, Theorem 5.2, term by term."""
    m, r, v, epsilon, delta = 60, 40, 33, 0.7, 1e-3
    q = math.exp(epsilon) / (1 + math.exp(epsilon))
    tail = binom.pmf(range(v, r + 1), r, q).sum()
    alpha = max(binom.pmf(range(v - i, v), r, q).sum() / i for i in range(1, v + 1))
    assert one_run_p_value(m, r, v, epsilon, delta) == pytest.approx(tail + 2 * m * delta * alpha, rel=1e-10)


def test_a_gaussian_bound_lies_below_what_independent_guesses_show() -> None:
    """One of two Gaussians mu apart is guessed with probability Phi(mu / 2) at most; all of r, to that power."""
    for guesses in (20, 200):
        exact = 2 * float(norm.ppf(0.05 ** (1 / guesses)))
        assert 0.4 * exact < one_run_mu(guesses, guesses, guesses) <= exact


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 80), st.data())
def test_more_right_guesses_prove_no_less_and_more_delta_no_more(guesses: int, data: st.DataObject) -> None:
    canaries = data.draw(st.integers(guesses, 120))
    correct = data.draw(st.integers(0, guesses - 1))
    for bound in (one_run_epsilon, one_run_gaussian_epsilon):
        less, more = (bound(canaries, guesses, count, 1e-5) for count in (correct, correct + 1))
        assert 0 <= less <= more + 1e-5
    plain = one_run_epsilon(canaries, guesses, correct, 0.0)
    assert one_run_epsilon(canaries, guesses, correct, 1e-3) <= plain + 1e-5
    assert (
        one_run_epsilon(canaries, guesses, correct, 0.0, 0.99)
        <= one_run_epsilon(canaries, guesses, correct, 0.0) + 1e-5
    )


def test_half_of_the_guesses_right_proves_nothing() -> None:
    assert one_run_epsilon(200, 200, 100, 1e-5) == one_run_gaussian_epsilon(200, 200, 100, 1e-5) == 0.0


def test_scores_are_judged_by_their_rank() -> None:
    truth = np.arange(40) % 2 == 0
    told = judge_run(np.where(truth, 2.0, -3.0), truth, 1e-6)
    level = 1 - 0.05 / len(SHARES)
    assert told.epsilon == told.limit == one_run_epsilon(40, 40, 40, 1e-6, level)
    assert (told.guesses, told.correct, told.accuracy) == (40, 40, 1.0)
    assert judge_run(np.exp(np.where(truth, 2.0, -3.0)), truth, 1e-6) == told
    assert judge_run(np.where(truth, -2.0, 3.0), truth, 1e-6).epsilon == 0.0  # all wrong


def test_guesses_that_are_sure_at_the_ends_alone_are_few() -> None:
    """Of 400 canaries 20 are plain, and nothing is known of the others."""
    draws = np.random.default_rng(3)
    truth = draws.integers(0, 2, 400).astype(bool)
    scores = draws.normal(size=400)
    ends = np.concatenate([truth.nonzero()[0][:10], (~truth).nonzero()[0][:10]])
    scores[ends] = np.where(truth[ends], 50.0, -50.0)
    told = judge_run(scores, truth, 1e-6)
    assert (told.guesses, told.correct) == (20, 20)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: one_run_p_value(10, 11, 3, 1.0, 0.0), "correct"),
        (lambda: one_run_p_value(10, 5, 6, 1.0, 0.0), "correct"),
        (lambda: one_run_p_value(10, 0, 0, 1.0, 0.0), "correct"),
        (lambda: one_run_p_value(10, 5, 3, -1.0, 0.0), "epsilon"),
        (lambda: one_run_epsilon(10, 5, 3, 1.0), "delta"),
        (lambda: one_run_epsilon(10, 5, 3, 0.0, 1.0), "confidence"),
        (lambda: one_run_gaussian_epsilon(10, 5, 3, 0.0), "delta"),
        (lambda: judge_run([1.0], [True], 0.0), "scores"),
        (lambda: judge_run([1.0, math.nan], [True, False], 0.0), "scores"),
        (lambda: judge_run([1.0, 2.0], [True], 0.0), "scores"),
    ],
)
def test_bad_input_names_the_argument(call: object, words: str) -> None:
    assert callable(call)
    with pytest.raises(ValueError, match=words):
        call()


def test_a_gaussian_epsilon_is_that_of_mu() -> None:
    mu = one_run_mu(300, 100, 90)
    assert one_run_gaussian_epsilon(300, 100, 90, 1e-5) == gaussian_epsilon(1 / mu, 1e-5, 1.0)
