"""The geometric median: known points, the smallest mean distance by scipy, breakdown at one half."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from bench.rules import gram_matrix
from defenses.geometric_median import geometric_median, geometric_median_weights


def mean_distance(point: np.ndarray, rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows - point, axis=1).mean())


def test_published_values(square: Tensor, larger: Tensor) -> None:
    """ByzFL 0.0.11 with nu = 1e-6 and 1,000 steps; its default three end at 3.788, 4.788, 5.788."""
    torch.testing.assert_close(geometric_median(square), square[1])
    byzfl = torch.tensor([7.037821, 6.413387, 6.894122, 4.214108, 6.012344, 3.758357], dtype=torch.float64)
    torch.testing.assert_close(geometric_median(larger), byzfl, rtol=0, atol=1e-5)


def test_the_fermat_point_sees_all_sides_of_a_triangle_at_120_degrees() -> None:
    triangle = torch.tensor([[0.0, 0.0], [4.0, 0.0], [1.0, 3.0]], dtype=torch.float64)
    towards = triangle - geometric_median(triangle)
    towards /= towards.norm(dim=1, keepdim=True)
    cosines = (towards @ towards.T).flatten()[[1, 2, 5]]
    torch.testing.assert_close(cosines, torch.full((3,), math.cos(2 * math.pi / 3)).double(), rtol=0, atol=1e-5)


def test_a_corner_of_more_than_120_degrees_is_the_median_itself() -> None:
    triangle = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.5]], dtype=torch.float64)
    assert float(geometric_median(triangle).norm()) < 1e-5


def test_the_mean_distance_is_smallest(adverse_rows: Tensor) -> None:
    """Against scipy's best from the coordinate-wise median, in float64; 2 tolerances of it above at most."""
    rows = adverse_rows.double().numpy()
    weights = geometric_median_weights(gram_matrix(adverse_rows)).numpy()
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)

    def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
        apart = point - rows
        lengths = np.linalg.norm(apart, axis=1).clip(min=1e-12)
        return float(lengths.mean()), (apart / lengths[:, None]).mean(axis=0)

    least = minimize(value_and_slope, np.median(rows, axis=0), jac=True, method="L-BFGS-B", options={"ftol": 1e-15})
    assert mean_distance(weights @ rows, rows) <= least.fun * (1 + 3e-6)


@given(st.integers(0, 10**6), st.integers(1, 4), st.sampled_from([1e3, 1e12, 1e38]))
def test_less_than_half_the_rows_cannot_carry_it_off(seed: int, forged: int, size: float) -> None:
    """No farther from the honest mean than 2 h / (h - f) times the honest spread (Pillutla et al., lemma 2)."""
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(5, 3, generator=generator)
    lies = (torch.randn(forged, 3, generator=generator) * size).clamp(-3e38, 3e38)
    found = geometric_median(torch.cat([honest, lies]))
    spread = float((honest - honest.mean(dim=0)).norm(dim=1).max())
    assert float((found - honest.mean(dim=0)).norm()) <= 2 * 5 / (5 - forged) * spread


def test_more_than_half_do() -> None:
    honest, lies = torch.zeros(5, 3), torch.full((6, 3), 1e6)
    torch.testing.assert_close(geometric_median(torch.cat([honest, lies])), lies[0], rtol=1e-4, atol=0)


def test_messages_that_are_all_the_same_are_their_median() -> None:
    assert torch.equal(geometric_median(torch.full((5, 2), 3.0)), torch.tensor([3.0, 3.0]))


@pytest.mark.parametrize("argument", ["nu", "tolerance"])
def test_what_it_cannot_do_is_refused(argument: str, square: Tensor) -> None:
    with pytest.raises(ValueError, match=f"{argument} is 0, but must be positive"):
        geometric_median(square, **{argument: 0})
