"""The Gaussian mechanism against mpmath's 50 digits, dp-accounting, published numbers and its own inverses."""

import math

import dp_accounting
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mpmath import mp, mpf, ncdf

from bench.privacy.analysis.gaussian import gaussian_delta, gaussian_epsilon, gaussian_sigma

EPSILONS = st.floats(1e-3, 100)
DELTAS = st.floats(-60, -0.5).map(lambda exponent: 10**exponent)
SENSITIVITIES = st.floats(1e-3, 1e3)


def test_sigma_of_the_niss_experiments() -> None:
    """Errata N11: epsilon = 10, delta = 1e-4, in units of the sensitivity."""
    assert gaussian_sigma(10, 1e-4, 1) == pytest.approx(0.455265, abs=5e-7)
    assert gaussian_sigma(10, 1e-4, 1, analytic=False) == pytest.approx(0.434361, abs=5e-7)
    assert gaussian_delta(10, gaussian_sigma(10, 1e-4, 1, analytic=False), 1) == pytest.approx(2.74e-4, abs=5e-7)


@pytest.mark.parametrize(("epsilon", "delta"), [(0.1, 1e-6), (1, 1e-5), (3, 1e-10), (10, 1e-4), (50, 0.01)])
def test_sigma_is_dp_accountings(epsilon: float, delta: float) -> None:
    assert gaussian_sigma(epsilon, delta, 1) == pytest.approx(
        dp_accounting.get_sigma_gaussian(epsilon, delta), rel=1e-6
    )


@pytest.mark.parametrize("epsilon", [0.0, 1e-3, 1.0, 30.0, 1000.0])
@pytest.mark.parametrize("sigma", [0.02, 0.5, 3.0, 400.0])
def test_delta_is_the_closed_form(epsilon: float, sigma: float) -> None:
    with mp.workdps(50):
        ratio = 1 / mpf(sigma)
        exact = ncdf(ratio / 2 - epsilon / ratio) - mp.exp(epsilon) * ncdf(-ratio / 2 - epsilon / ratio)
        if exact < 1e-300:
            assert gaussian_delta(epsilon, sigma, 1) < 1e-290
        else:
            assert gaussian_delta(epsilon, sigma, 1) == pytest.approx(float(exact), rel=1e-9)


@given(EPSILONS, DELTAS, SENSITIVITIES)
def test_sigma_and_epsilon_invert_delta(epsilon: float, delta: float, sensitivity: float) -> None:
    sigma = gaussian_sigma(epsilon, delta, sensitivity)
    assert gaussian_delta(epsilon, sigma, sensitivity) == pytest.approx(delta, rel=1e-6)
    assert gaussian_epsilon(sigma, delta, sensitivity) == pytest.approx(epsilon, rel=1e-6)


@given(EPSILONS, DELTAS, SENSITIVITIES)
def test_sigma_scales_with_the_sensitivity_and_falls_with_epsilon(epsilon: float, delta: float, unit: float) -> None:
    sigma = gaussian_sigma(epsilon, delta, 1)
    assert gaussian_sigma(epsilon, delta, unit) == pytest.approx(unit * sigma, rel=1e-9)
    assert gaussian_sigma(2 * epsilon, delta, 1) < sigma


@given(st.floats(0.01, 0.99), DELTAS)
def test_classical_sigma_suffices_below_epsilon_1(epsilon: float, delta: float) -> None:
    """Theorem 1 of the NISS paper, inside its range."""
    assert gaussian_sigma(epsilon, delta, 1, analytic=False) > gaussian_sigma(epsilon, delta, 1)


def test_ends_of_the_range() -> None:
    assert gaussian_delta(1, 0, 1) == 1
    assert gaussian_epsilon(0, 1e-5, 1) == math.inf
    assert gaussian_epsilon(1e6, 1e-5, 1) == 0
    assert gaussian_epsilon(1e-20, 1e-5, 1) == pytest.approx(5e39)
    assert gaussian_delta(1, 1e300, 1e-300) == 0
    assert gaussian_delta(0, 1, 1) == pytest.approx(math.erf(1 / math.sqrt(8)), rel=1e-12)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_numbers_out_of_range_are_named(bad: float) -> None:
    for analytic in (True, False):
        with pytest.raises(ValueError, match=r"^epsilon is .*, but must be a finite number above 0"):
            gaussian_sigma(bad, 1e-5, 1, analytic)
        with pytest.raises(ValueError, match=r"^sensitivity is .* finite"):
            gaussian_sigma(1, 1e-5, bad, analytic)
        with pytest.raises(ValueError, match=r"^delta is .* between 0 and 1"):
            gaussian_sigma(1, bad, 1, analytic)
    for sensitive in (gaussian_delta, gaussian_epsilon):
        with pytest.raises(ValueError, match=r"^sensitivity is"):
            sensitive(0.5, 0.5, bad)
    with pytest.raises(ValueError, match=r"^delta is"):
        gaussian_epsilon(1, bad, 1)
    if bad != 0:
        with pytest.raises(ValueError, match=r"^sigma is"):
            gaussian_epsilon(bad, 1e-5, 1)
        with pytest.raises(ValueError, match=r"^sigma is"):
            gaussian_delta(1, bad, 1)
        with pytest.raises(ValueError, match=r"^epsilon is"):
            gaussian_delta(bad, 1, 1)
