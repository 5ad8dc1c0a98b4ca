"""Theorem 4 of the DPBFL paper against the likelihood ratio that it is, and its inverse."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.privacy.analysis.local import gamma_for_local_epsilon, local_epsilon


@given(st.floats(1e-9, 1 - 1e-9))
def test_local_epsilon_is_the_largest_likelihood_ratio(gamma: float) -> None:
    truthful, other = 1 - gamma + gamma / 3, gamma / 3
    assert local_epsilon(gamma) == pytest.approx(math.log(truthful / other), rel=1e-6, abs=1e-9)


@given(st.floats(1e-6, 1 - 1e-6))
def test_gamma_inverts_epsilon(gamma: float) -> None:
    assert gamma_for_local_epsilon(local_epsilon(gamma)) == pytest.approx(gamma, rel=1e-12)


@given(st.floats(1e-6, 700), st.floats(1e-3, 10))
def test_more_epsilon_is_less_noise(epsilon: float, more: float) -> None:
    assert 0 < gamma_for_local_epsilon(epsilon + more) < gamma_for_local_epsilon(epsilon) < 1


def test_numbers_of_the_errata() -> None:
    assert local_epsilon(0.283) == pytest.approx(2.15, abs=0.005)  # D7
    assert local_epsilon(0.75) == pytest.approx(math.log(2), rel=1e-12)  # D3


def test_ends_of_the_range() -> None:
    assert local_epsilon(0) == math.inf
    assert gamma_for_local_epsilon(math.inf) == 0
    assert gamma_for_local_epsilon(1000) == 0
    assert 700 < local_epsilon(1e-305) < math.inf


@pytest.mark.parametrize("gamma", [-0.1, 1, 1.5, math.nan])
def test_gammas_out_of_range_are_named(gamma: float) -> None:
    with pytest.raises(ValueError, match=r"^gamma is .*, but must be in \[0, 1\)"):
        local_epsilon(gamma)


@pytest.mark.parametrize("epsilon", [0, -1, math.nan])
def test_epsilons_out_of_range_are_named(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"^epsilon is .*, but must be above 0"):
        gamma_for_local_epsilon(epsilon)
