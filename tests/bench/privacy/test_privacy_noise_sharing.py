"""NISS' variances against simulated exchanges, and its thresholds against the variance that they are to keep."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.privacy.papers.noise_sharing import (
    niss_aggregate_variance,
    niss_collusion_variance,
    niss_max_colluders,
    niss_max_colluders_scalar,
    niss_min_tau_squared,
    niss_min_tau_squared_scalar,
    niss_worst_coordinate,
)

VARIANCES = st.floats(0, 1e3)
FRACTIONS = st.floats(0, 1)


def test_aggregate_variance_of_a_simulated_exchange() -> None:
    """Four clients, each sends a share to each other one; false alarms below 1e-6 (five standard errors)."""
    generator = np.random.default_rng(0)
    clients, draws, sigma_squared, tau_squared = 4, 100_000, np.array([1.0, 2.0, 0.5, 4.0]), 0.6
    total = np.zeros(draws)
    for sender in range(clients):
        for _receiver in range(clients - 1):
            share = generator.normal(0, math.sqrt(sigma_squared[sender] / (clients - 1)), draws)
            total += share * (1 - generator.normal(1, math.sqrt(tau_squared), draws))
    expected = niss_aggregate_variance(sigma_squared, tau_squared)
    assert expected == pytest.approx(7.5 * 0.6)
    standard_error = math.sqrt(np.mean((total**2 - expected) ** 2) / draws)
    assert np.mean(total**2) == pytest.approx(expected, abs=5 * standard_error)


@pytest.mark.parametrize("rho", [0.0, 0.4, 0.8, 1.0])
def test_collusion_variance_of_a_simulated_upload(rho: float) -> None:
    """Five shares in and out, rho of them known up to their factor; false alarms below 1e-6 each."""
    generator = np.random.default_rng(1)
    shares, draws, sigma_squared, tau_squared = 5, 100_000, 2.0, 0.6
    own, received = generator.normal(0, math.sqrt(sigma_squared / shares), (2, shares, draws))
    factor = generator.normal(1, math.sqrt(tau_squared), (shares, draws))
    colluding = (np.arange(shares) < round(rho * shares))[:, None]
    left = np.where(colluding, (factor - 1) * received, own + factor * received).sum(axis=0)
    expected = niss_collusion_variance(sigma_squared, tau_squared, rho)
    standard_error = math.sqrt(np.mean((left**2 - expected) ** 2) / draws)
    assert np.mean(left**2) == pytest.approx(expected, abs=5 * standard_error)


def test_papers_special_cases() -> None:
    """Remarks of Theorems 2 and 3, and errata N3 and N15."""
    assert niss_aggregate_variance([1, 2, 3], 0) == 0
    assert niss_aggregate_variance([1, 2, 3], 1) == 6
    assert niss_aggregate_variance(0.2, 0.5) == pytest.approx(0.1)
    assert niss_collusion_variance(3, 0, 0) == 6
    assert niss_collusion_variance(3, 0.5, 0) == pytest.approx(2.5 * 3)
    assert niss_collusion_variance(3, 1, 1) == 3
    assert niss_min_tau_squared(0.8) == pytest.approx(0.6)
    assert niss_min_tau_squared_scalar(0.8) == pytest.approx(3)
    assert niss_min_tau_squared_scalar(1) == math.inf
    assert niss_min_tau_squared(0.3) == niss_min_tau_squared_scalar(0.3) == 0


@given(VARIANCES, FRACTIONS)
def test_threshold_keeps_the_clients_variance(sigma_squared: float, rho: float) -> None:
    threshold = niss_min_tau_squared(rho)
    left = niss_collusion_variance(sigma_squared, threshold, rho)
    assert left >= sigma_squared * (1 - 1e-12)
    if threshold > 0:
        assert left == pytest.approx(sigma_squared, rel=1e-9)


@given(st.floats(0.5, 0.999))
def test_scalar_threshold_keeps_the_honest_part_at_the_clients_variance(rho: float) -> None:
    assert (1 - rho) * (2 + niss_min_tau_squared_scalar(rho)) == pytest.approx(1, rel=1e-9)
    assert niss_min_tau_squared_scalar(rho) >= niss_min_tau_squared(rho)


@given(st.floats(0.5, 0.999))
def test_thresholds_invert_one_another(rho: float) -> None:
    assert niss_max_colluders(niss_min_tau_squared(rho)) == pytest.approx(rho, rel=1e-12)
    assert niss_max_colluders_scalar(niss_min_tau_squared_scalar(rho)) == pytest.approx(rho, rel=1e-12)


def test_ends_of_the_thresholds() -> None:
    assert niss_max_colluders(0) == niss_max_colluders_scalar(0) == 0.5
    assert niss_max_colluders(1) == niss_max_colluders(7) == 1
    assert niss_max_colluders_scalar(1e6) < 1
    np.testing.assert_allclose(niss_max_colluders([0, 0.6]), [0.5, 0.8])


@pytest.mark.parametrize(("v", "measured"), [(20, 0.22), (29, 0.27), (170, 0.63), (679, 0.81)])
def test_worst_coordinate_is_what_errata_n4_measured(v: int, measured: float) -> None:
    """The least of 7,850 coordinates at rho = 1, tau^2 = 1, one exchange each; .03 at v = 7, where it scatters."""
    assert niss_worst_coordinate(1, 1, v, 7850) == pytest.approx(measured, abs=0.05)
    assert niss_worst_coordinate(1, 1, 7, 7850) == pytest.approx(0.03, abs=0.03)


@pytest.mark.parametrize(("tau_squared", "rho", "v"), [(0.6, 0.8, 5), (1.0, 1.0, 20), (2.0, 0.5, 10)])
def test_worst_coordinate_of_simulated_shares(tau_squared: float, rho: float, v: int) -> None:
    """One coordinate in 100 lies below: 200,000 coordinates, false alarms below 1e-6 (five standard errors)."""
    draws, known = 200_000, round(rho * v)
    squares = np.random.default_rng(2).normal(0, math.sqrt(1 / v), (known, draws)) ** 2
    left = (1 - rho) * (2 + tau_squared) + tau_squared * squares.sum(axis=0)
    below = np.mean(left < niss_worst_coordinate(tau_squared, rho, v, 100))
    assert below == pytest.approx(0.01, abs=5 * math.sqrt(0.01 * 0.99 / draws))


@given(st.floats(0, 10), st.floats(0, 1), st.integers(1, 200))
def test_worst_coordinate_is_below_the_mean_and_falls_with_more_of_them(tau: float, rho: float, v: int) -> None:
    few, many = (niss_worst_coordinate(tau, rho, v, dim) for dim in (100, 10**6))
    assert many <= few <= niss_collusion_variance(1, tau, rho) * (1 + 1e-9)
    assert niss_worst_coordinate(tau, 0, v, 100) == pytest.approx(2 + tau)


@pytest.mark.parametrize(("dim", "quantile"), [(1, 1 / 2), (2, 1 / 3), (9, 1 / 10)])
def test_the_worst_of_few_coordinates_lies_where_the_least_of_so_many_draws_does(dim: int, quantile: float) -> None:
    """Two known shares: chi-squared with 2 degrees of freedom, P(x <= t) = 1 - exp(-t / 2). Of one: its median."""
    worst = niss_worst_coordinate(0.6, 0.5, 4, dim)
    assert worst == pytest.approx(0.5 * 2.6 + 0.6 * -2 * math.log(1 - quantile) / 4)
    least = np.random.default_rng(3).chisquare(2, (100_000, dim)).min(axis=1)
    shares = 1 - np.exp(-least / 2)  # 5 standard errors: false alarms below 1e-6
    assert shares.mean() == pytest.approx(quantile, abs=5 * shares.std() / math.sqrt(len(shares)))


@given(st.floats(0, 10), st.floats(0, 1), st.integers(1, 200))
def test_one_coordinate_alone_keeps_a_finite_variance_below_the_mean(tau: float, rho: float, v: int) -> None:
    alone, of_two = (niss_worst_coordinate(tau, rho, v, dim) for dim in (1, 2))
    assert 0 <= of_two <= alone <= niss_collusion_variance(1, tau, rho) * (1 + 1e-9)


@given(st.lists(st.tuples(VARIANCES, VARIANCES, FRACTIONS), min_size=1, max_size=5))
def test_arrays_are_elementwise_and_the_aggregate_sums(rows: list[tuple[float, float, float]]) -> None:
    sigma, tau, rho = np.array(rows).T
    found = niss_collusion_variance(sigma, tau, rho)
    assert isinstance(found, np.ndarray)
    np.testing.assert_allclose(found, [niss_collusion_variance(*row) for row in rows])
    np.testing.assert_allclose(niss_min_tau_squared(rho), [niss_min_tau_squared(value) for value in rho])
    assert niss_aggregate_variance(sigma, tau) == pytest.approx(sum(s * t for s, t, _ in rows))


def test_scalars_stay_floats_and_tensors_are_taken() -> None:
    assert isinstance(niss_collusion_variance(1, 1, 0), float)
    assert isinstance(niss_min_tau_squared(1), float)
    assert isinstance(niss_min_tau_squared_scalar(1), float)
    assert niss_aggregate_variance(torch.tensor([1.0, 2.0]), torch.tensor([0.5, 1.0])) == 2.5


@pytest.mark.parametrize("bad", [-0.1, math.nan, math.inf, [0.5, -1.0]])
def test_variances_out_of_range_are_named(bad: float) -> None:
    for call in (niss_aggregate_variance, lambda sigma, tau: niss_collusion_variance(sigma, tau, 0.5)):
        with pytest.raises(ValueError, match=r"^sigma_squared is .*, but must be finite and at least 0"):
            call(bad, 1)
        with pytest.raises(ValueError, match=r"^tau_squared is .*, but must be finite and at least 0"):
            call(1, bad)


def test_counts_and_taus_of_the_thresholds_out_of_range_are_named() -> None:
    for call in (niss_max_colluders, niss_max_colluders_scalar, lambda tau: niss_worst_coordinate(tau, 0.5, 5, 10)):
        for bad in (-0.1, math.nan, math.inf):
            with pytest.raises(ValueError, match=r"^tau_squared is .*, but must be finite and at least 0"):
                call(bad)
    with pytest.raises(ValueError, match=r"^rho is"):
        niss_worst_coordinate(1, 1.1, 5, 10)
    with pytest.raises(ValueError, match=r"^num_shares is 0"):
        niss_worst_coordinate(1, 1, 0, 10)
    with pytest.raises(ValueError, match=r"^dim is 0"):
        niss_worst_coordinate(1, 1, 5, 0)


@pytest.mark.parametrize("bad", [-0.1, 1.1, math.nan, [0.5, 2.0]])
def test_fractions_out_of_range_are_named(bad: float) -> None:
    for call in (niss_min_tau_squared, niss_min_tau_squared_scalar, lambda rho: niss_collusion_variance(1, 1, rho)):
        with pytest.raises(ValueError, match=r"^rho is .*, but must be between 0 and 1"):
            call(bad)
