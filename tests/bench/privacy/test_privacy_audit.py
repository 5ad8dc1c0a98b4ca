"""Audits: exact where they can be worked out by hand, rarely too high, and never blind to a broken mechanism."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, norm

from bench.privacy.analysis.gaussian import gaussian_epsilon, gaussian_sigma
from bench.privacy.analysis.local import local_epsilon
from bench.privacy.audit import audit_epsilon, audit_gaussian_epsilon

AUDITS = 200
# Of 200 audits at 95 % confidence, more than this many are too high with probability below 1e-6.
TOO_HIGH = int(binom.isf(1e-6, AUDITS, 0.05))


def upper(successes: int, trials: int, confidence: float) -> float:
    """SciPy's one-sided Clopper-Pearson bound; the two-sided interval leaves half on each side."""
    return binomtest(successes, trials).proportion_ci(confidence).high


def gaussian_scores(sigma: float, rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores of audits of a query of sensitivity 1: the released values of the two worlds, an audit a row."""
    without, with_ = np.random.default_rng(seed).normal(0, sigma, (2, AUDITS, rows))
    return without, with_ + 1


def test_separated_worlds_by_hand() -> None:
    """100 measured rows a world without an error: both rates are at most 1 - 0.025^(1/100)."""
    rate = 1 - 0.025 ** (1 / 100)
    found = audit_epsilon(np.arange(200), np.arange(200) + 1000, 1e-3)
    assert found == pytest.approx(math.log((1 - rate - 1e-3) / rate))
    mu = 2 * norm.ppf(1 - rate)
    assert audit_gaussian_epsilon(np.arange(200), np.arange(200) + 1000, 1e-3) == pytest.approx(
        gaussian_epsilon(1 / mu, 1e-3, 1)
    )


@pytest.mark.parametrize(("false_positives", "false_negatives"), [(3, 40), (40, 3), (20, 20)])
@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.999])
def test_yes_or_no_scores_by_hand(false_positives: int, false_negatives: int, confidence: float) -> None:
    """The measured half has these errors among 100 rows, and only one threshold is left to choose."""
    without = np.repeat(np.arange(100) < false_positives, 2)
    with_ = np.repeat(np.arange(100) >= false_negatives, 2)
    fpr, fnr = upper(false_positives, 100, confidence), upper(false_negatives, 100, confidence)
    expected = max(math.log((1 - fnr - 0.01) / fpr), math.log((1 - fpr - 0.01) / fnr))
    assert audit_epsilon(without, with_, 0.01, confidence) == pytest.approx(expected)


@pytest.mark.parametrize("rows", [101, 400])
def test_gaussian_audits_are_rarely_above_the_truth(rows: int) -> None:
    """The fit is exact for this mechanism, so that its bound comes close and would show a broken confidence level."""
    delta, sigma = 1e-3, 1.0
    truth = gaussian_epsilon(sigma, delta, 1)
    pairs = list(zip(*gaussian_scores(sigma, rows, seed=rows), strict=True))
    assert sum(audit_epsilon(*pair, delta) > truth for pair in pairs) <= TOO_HIGH
    fitted = [audit_gaussian_epsilon(*pair, delta) for pair in pairs]
    assert sum(epsilon > truth for epsilon in fitted) <= TOO_HIGH
    assert rows < 400 or np.median(fitted) > 0.5 * truth


@pytest.mark.parametrize("gamma", [0.3, 0.9])
def test_audits_of_randomized_responses_are_rarely_above_the_truth(gamma: float) -> None:
    """A purely private mechanism, at delta = 0, of which the audit sees all that there is to see."""
    generator = np.random.default_rng(3)
    shape = (AUDITS, 600)
    without, with_ = (
        np.where(generator.random(shape) < gamma, generator.integers(-1, 2, shape), sign) for sign in (-1, 1)
    )
    found = [audit_epsilon(*pair, 0) for pair in zip(without, with_, strict=True)]
    assert sum(epsilon > local_epsilon(gamma) for epsilon in found) <= TOO_HIGH
    assert gamma > 0.5 or np.median(found) > 0.7 * local_epsilon(gamma)


def test_equal_worlds_show_nothing() -> None:
    without, with_ = gaussian_scores(1.0, 60, seed=4)
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        assert sum(audit(*pair, 1e-5) > 0 for pair in zip(without, with_ - 1, strict=True)) <= TOO_HIGH


def test_the_rows_that_measure_do_not_choose() -> None:
    """Only the odd rows tell the worlds apart, and only at a threshold that the even rows do not suggest."""
    without, with_ = [0, 100] * 50, [0, 101] * 50
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        assert audit(without, with_, 1e-5) == 0
        assert audit([100, 100] * 50, [101, 101] * 50, 1e-5) > 2
        assert audit([100, 0] * 50, [101, 0] * 50, 1e-5) == 0


def test_a_tenth_of_the_noise_is_found_out() -> None:
    claimed = 1.0
    sigma = gaussian_sigma(claimed, 1e-5, 1) / 10
    for pair in zip(*(scores[:20] for scores in gaussian_scores(sigma, 400, seed=5)), strict=True):
        assert audit_epsilon(*pair, 1e-5) > claimed
        assert audit_gaussian_epsilon(*pair, 1e-5) > claimed


@given(st.integers(0, 2**32), st.floats(0.1, 10), st.floats(-5, 5))
def test_units_of_the_scores_do_not_count(seed: int, scale: float, shift: float) -> None:
    without, with_ = np.random.default_rng(seed).integers(0, 20, (2, 30)) + np.array([[0], [8]])
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        found = audit(without, with_, 1e-3)
        assert audit(scale * without + shift, scale * with_ + shift, 1e-3) == found


@given(st.integers(0, 2**32))
def test_scores_of_either_sign_and_worlds_in_either_order_tell_the_same(seed: int) -> None:
    without, with_ = np.random.default_rng(seed).normal(0, 1, (2, 50)) + np.array([[0], [30]])
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        found = audit(without, with_, 1e-3)
        assert found > 1
        assert audit(-without, -with_, 1e-3) == audit(with_, without, 1e-3) == found


def test_more_rows_and_less_confidence_show_more() -> None:
    few, many = np.arange(20), np.arange(2000)
    assert audit_epsilon(few, few + 5000, 0) < audit_epsilon(many, many + 5000, 0) < math.log(1000 / math.log(40))
    assert audit_epsilon(few, few + 5000, 0, 0.99) < audit_epsilon(few, few + 5000, 0, 0.9)


def test_tensors_lists_and_infinite_scores_are_taken() -> None:
    without, with_ = [-math.inf, 0, 0, 1] * 20, [math.inf, 2, 3, 1] * 20
    found = audit_epsilon(without, with_, 1e-5)
    assert found > 1
    assert audit_epsilon(torch.tensor(without), torch.tensor(with_), 1e-5) == found
    assert audit_epsilon([0, 1], [0.5, 1], 0) == 0


@pytest.mark.parametrize("bad", [[], [1.0], [[1.0, 2.0], [3.0, 4.0]], [1.0, math.nan], 3.0])
def test_scores_of_the_wrong_shape_are_named(bad: object) -> None:
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        with pytest.raises(ValueError, match=r"^scores_without is .*, but must be one-dimensional, with at least 2"):
            audit(bad, [1.0, 2.0], 1e-5)
        with pytest.raises(ValueError, match=r"^scores_with is .*, but must be one-dimensional, with at least 2"):
            audit([1.0, 2.0], bad, 1e-5)


@pytest.mark.parametrize("bad", [-0.1, 1, math.nan])
def test_levels_out_of_range_are_named(bad: float) -> None:
    for audit in (audit_epsilon, audit_gaussian_epsilon):
        with pytest.raises(ValueError, match=r"^delta is"):
            audit([0, 1], [0, 1], bad)
        with pytest.raises(ValueError, match=r"^confidence is"):
            audit([0, 1], [0, 1], 1e-5, bad)
    with pytest.raises(ValueError, match=r"^delta is"):
        audit_gaussian_epsilon([0, 1], [0, 1], 0)
