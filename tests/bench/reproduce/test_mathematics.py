"""What the items compute themselves, against closed forms, other libraries and Monte Carlo."""

import math

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from bench.base import rng
from bench.privacy.papers.noise_sharing import niss_collusion_variance
from bench.privacy.papers.shuffle import analyzer_variance
from bench.reproduce import dpbfl_fig5, dpbfl_shuffle_sum, dpbfl_theorem5, niss_noise
from bench.reproduce.intervals import mean_of, upper_share
from defenses.niss import exchange


def test_intervals_are_scipys() -> None:
    values = [1.0, 2.5, 2.0, 4.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(values), scale=stats.sem(values))
    found = mean_of(values)
    assert (found.value - found.half_width(), found.value + found.half_width()) == pytest.approx((low, high))
    exact = stats.binomtest(7, 50, alternative="less").proportion_ci(0.99, method="exact").high
    assert upper_share(7, 50, 0.99) == pytest.approx(exact)
    assert upper_share(50, 50, 0.99) == 1.0


@pytest.mark.parametrize("alpha", [0.2, 2.0])
def test_concentration_is_that_of_drawn_dirichlet_counts(alpha: float) -> None:
    draw = np.random.default_rng(0)
    shares = draw.multinomial(55, draw.dirichlet([alpha / 10] * 10, size=40_000)) / 55
    squares = np.square(shares).sum(axis=1)
    tolerance = 4 * squares.std() / math.sqrt(len(squares))  # false alarm: 6e-5
    assert dpbfl_fig5.expected_concentration(alpha, 55) == pytest.approx(squares.mean(), abs=tolerance)


def test_theorem_3_s_threshold_and_theorem_2_s_constant() -> None:
    found = dpbfl_shuffle_sum.threshold(0.5, 0.1)
    assert found == pytest.approx(12 * math.sqrt(22 * math.log(2e6) * math.log(20)))
    assert dpbfl_shuffle_sum.constant(math.log(1e6) / 0.25, 0.5) == pytest.approx(1.0)
    assert dpbfl_shuffle_sum.largest_constant(10**6) == pytest.approx(
        42 * math.log(2e6) / math.log(1e6) * (0.5 * 0.5 + 1 / 3) / 0.5 / 0.25, rel=1e-4
    )


def test_measured_sums_have_the_exact_variance() -> None:
    point = {"n": 1000, "epsilon": 0.9, "nonzero": 1000, "coordinates": 4000}
    found = dpbfl_shuffle_sum.measure_sum(point, 0, None)
    exact = analyzer_variance(1000, 1000, found["gamma"])
    assert found["mse"] == pytest.approx(exact, rel=4 * math.sqrt(2 / 4000))  # false alarm: 6e-5
    assert abs(found["bias"]) < 4 * math.sqrt(exact / 4000)


def test_the_optimum_is_that_of_the_penalised_loss() -> None:
    """Minimising (1) over w_0 and every w_i, one coordinate: sum |w_i - c_i|^2 / 2 + lam |w_0 - w_i| + w_0^2 / 2."""
    centres = np.random.default_rng(1).normal(1.0, 0.5, size=(7, 1))
    lam = 0.2

    def loss(w_0: float) -> float:
        w = centres[:, 0] + np.clip(w_0 - centres[:, 0], -lam, lam)  # the minimum over w_i
        return float((0.5 * (w - centres[:, 0]) ** 2 + lam * np.abs(w_0 - w)).sum() + 0.5 * w_0**2)

    found = optimize.minimize_scalar(loss, bounds=(-3, 3), method="bounded", options={"xatol": 1e-10})
    assert dpbfl_theorem5.solve(centres, lam)[0] == pytest.approx(found.x, abs=1e-5)


def test_the_bound_is_equation_13_step_by_step() -> None:
    point = {"n": 100, "dim": 2, "steps": 3, "lambda": 0.01, "gamma": 0.5, "byzantine": 0.1}
    delta_1 = 2 * 0.01**2 * 2 / 0.25 * (4 * 90**2 + 10**2) + 8 * 0.01**2 * 90**2 * 2
    epsilon = math.sqrt(42 * math.log(2e6) / (99 * 0.5))
    delta_2 = 198 * 0.01**2 * 2 / (0.5 * epsilon**2) * math.log(1e6)
    bias = 0.01**2 * 10**2 * 2 / (0.5 * 0.25)
    for corrected, floor in ((False, delta_2), (True, 2 * (delta_2 + bias))):
        value = 5.0
        for k, found in enumerate(dpbfl_theorem5.bound(point, 5.0, corrected)):
            assert found == pytest.approx(value)
            alpha = 2 / (k + 20)
            value = (1 - 0.5 * alpha) * value + alpha**2 * delta_1 + alpha * floor


def test_a_run_of_theorem_5_nears_the_optimum_without_byzantine_workers() -> None:
    point = {"n": 60, "dim": 2, "steps": 400, "lambda": 0.01, "gamma": 0.283, "byzantine": 0.0}
    found = dpbfl_theorem5.measure(point, 0, None)
    assert found["errors"][0] == pytest.approx(found["start"])
    assert found["errors"][-1] < 0.02 * found["errors"][0]
    assert found == dpbfl_theorem5.measure(point, 0, None)


@pytest.mark.parametrize(("rho", "tau_squared"), [(0.0, 0.6), (0.6, 0.2), (1.0, 1.0)])
def test_what_colluders_leave_is_equation_11_for_s_per_coordinate(rho: float, tau_squared: float) -> None:
    point = {"rho": rho, "tau_squared": tau_squared, "shares": 30, "scale": "coordinate", "clients": 31, "dim": 1500}
    found = niss_noise.measure_collusion(point, 0, None)["left"]
    expected = float(niss_collusion_variance(1.0, tau_squared, rho))
    assert found == pytest.approx(expected, rel=0.05)  # 46,500 squares, twice the variance of normal ones: 7 errors


def test_colluders_project_a_scalar_s_away() -> None:
    point = {"rho": 1.0, "tau_squared": 1.0, "shares": 30, "scale": "share", "clients": 31, "dim": 200}
    assert niss_noise.measure_collusion(point, 0, None)["left"] < 1e-9


def test_the_corrected_sum_counts_the_receivers_tau() -> None:
    point = niss_noise.unequal_points()[0]
    found = niss_noise.measure_unequal({**point, "dim": 20_000}, 0, None)
    assert found["sum"] == pytest.approx(found["corrected"], rel=4 * math.sqrt(2 / 20_000) * 1.5)
    assert found["printed"] < 0.7 * found["corrected"]


def test_dropouts_leave_both_ends_of_their_edges() -> None:
    found = [
        niss_noise.measure_dropout({"dropouts": 3, "shares": 10, "clients": 30, "dim": 1500}, seed, None)["sum"]
        for seed in range(20)
    ]
    tolerance = 4 * np.std(found, ddof=1) / math.sqrt(20)
    assert np.mean(found) == pytest.approx(2 * 3 * 27 / 29, abs=tolerance)


def test_the_worst_coordinate_is_the_least_sum_of_squares() -> None:
    point = {"shares": 7, "dim": 500}
    noise = exchange(30, 500, 1.0, 7, 1.0, rng.generator(3, "niss worst", 7), dtype=torch.float64)
    squares = noise.shares(0).got.square().sum(dim=0)
    found = niss_noise.measure_worst(point, 3, None)
    assert found["worst"] == pytest.approx(float(squares.min()))
    assert found["below"] == pytest.approx(float((squares < 1).double().mean()))
