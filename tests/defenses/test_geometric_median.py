"""The geometric median: known points, the smallest mean distance by scipy, breakdown at one half, both its ways."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize
from torch import Tensor

from bench.rules import weiszfeld
from bench.rules.gram import gram_matrix
from bench.rules.weiszfeld import PointAmongRows
from defenses import geometric_median as geometric_median_file
from defenses.geometric_median import (
    SAMPLE,
    GeometricMedian,
    _start,
    geometric_median,
    geometric_median_weights,
    geometric_median_weights_of,
)


def mean_distance(point: np.ndarray, rows: np.ndarray) -> float:
    return float(np.linalg.norm(rows - point, axis=1).mean())


def least_mean_distance(rows: np.ndarray) -> float:
    """By scipy in float64, from the coordinate-wise median and from the row with the smallest mean distance."""

    def value_and_slope(point: np.ndarray) -> tuple[float, np.ndarray]:
        apart = point - rows
        lengths = np.linalg.norm(apart, axis=1).clip(min=1e-12)
        return float(lengths.mean()), (apart / lengths[:, None]).mean(axis=0)

    best_row = min(rows, key=lambda row: mean_distance(row, rows))
    least = mean_distance(best_row, rows)
    for start in (np.median(rows, axis=0), best_row):
        least = min(
            least, float(minimize(value_and_slope, start, jac=True, method="L-BFGS-B", options={"ftol": 1e-15}).fun)
        )
    return least


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

    assert mean_distance(weights @ rows, rows) <= least_mean_distance(rows) * (1 + 3e-6)


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


# ---------------------------------------------------------------------------- more rows than coordinates: on the rows


@pytest.fixture(
    params=[
        *("plain", "clustered far from zero", "two clusters", "duplicates", "many duplicates"),
        *("silent", "far off, half of them farther", "far together"),
    ]
)
def many_rows(request: pytest.FixtureRequest, make_adverse: Callable[..., Tensor]) -> Tensor:
    """300 rows of 20 coordinates; in some kinds 120 of them are not like the rest, up to 1e38 away."""
    return make_adverse(request.param, 300, 20, seed=11, apart=120)


def test_on_the_rows_it_is_the_median_of_the_definition_and_of_the_gram_matrix(many_rows: Tensor) -> None:
    rows = many_rows.double().numpy()
    weights = geometric_median_weights_of(many_rows).numpy()
    by_products = geometric_median_weights(gram_matrix(many_rows)).numpy()
    assert weights.min() > 0
    assert weights.sum() == pytest.approx(1)
    assert mean_distance(weights @ rows, rows) <= least_mean_distance(rows) * (1 + 3e-6)
    spread = np.median(np.linalg.norm(rows - weights @ rows, axis=1))
    assert np.linalg.norm((weights - by_products) @ rows) <= 1e-4 * spread + 2e-6


def test_the_rows_are_looked_at_where_they_are_not_longer_than_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometric_median_file, "checked_gram", lambda messages: pytest.fail("a Gram matrix"))
    generator = torch.Generator().manual_seed(0)
    geometric_median_weights_of(torch.randn(20, 20, generator=generator))
    with pytest.raises(pytest.fail.Exception, match="a Gram matrix"):
        geometric_median_weights_of(torch.randn(20, 21, generator=generator))


def test_a_step_on_the_rows_is_weiszfelds_in_groups_of_any_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the coordinate-wise median of `SAMPLE` rows, which are spread over all of them."""
    rows = torch.randn(700, 9, generator=torch.Generator().manual_seed(3))
    monkeypatch.setattr(weiszfeld, "per_thread", lambda row_bytes, cache_bytes: 300)
    point = PointAmongRows(rows, 1e-6, _start(rows))
    some = rows[torch.linspace(0, 699, SAMPLE).round().long()]
    assert torch.equal(point.at, some.median(dim=0).values.double())
    apart = rows.double() - point.at
    weights, gradient = point.step()
    pull = 1 / apart.norm(dim=1)
    np.testing.assert_allclose(weights, (pull / pull.sum()).numpy())
    torch.testing.assert_close(point.at, torch.from_numpy(weights) @ rows.double())
    assert gradient == pytest.approx(float((pull[:, None] * apart).mean(dim=0).norm()))


def test_on_the_rows_no_distance_is_taken_as_shorter_than_nu() -> None:
    rows = torch.randn(40, 3, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    point = PointAmongRows(rows, 1.5, _start(rows))
    pull = 1 / (rows - point.at).norm(dim=1).clamp(min=1.5)
    assert 5 < int((pull == 1 / 1.5).sum()) < 35
    weights, _ = point.step()
    np.testing.assert_allclose(weights, (pull / pull.sum()).numpy())
    found = geometric_median(rows, nu=1.5)
    by_products = geometric_median_weights(gram_matrix(rows), nu=1.5) @ rows
    torch.testing.assert_close(found, by_products, rtol=0, atol=1e-5)
    assert float((found - geometric_median(rows)).norm()) > 1e-3
    torch.testing.assert_close(geometric_median(rows, nu=1e3), rows.mean(dim=0))  # all pull alike


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_class_takes_the_same_way(dtype: torch.dtype) -> None:
    rows = torch.randn(50, 6, generator=torch.Generator().manual_seed(2), dtype=dtype)
    before = rows.clone()
    assert torch.equal(GeometricMedian().weigh(rows, 3), geometric_median_weights_of(rows))
    assert torch.equal(rows, before)


@pytest.mark.parametrize(("value", "told"), [(math.nan, "not finite"), (math.inf, "not finite"), (1e200, "too large")])
def test_on_the_rows_what_it_cannot_weigh_is_refused_too(value: float, told: str) -> None:
    rows = torch.zeros(9, 2, dtype=torch.float64)
    rows[3, 1] = value
    with pytest.raises(ValueError, match=f"messages is '{told}'"):
        geometric_median(rows)
    with pytest.raises(ValueError, match="tolerance is 0"):
        geometric_median(rows.zero_(), tolerance=0)


def test_less_than_half_of_many_rows_cannot_hold_it_back_however_far_they_are() -> None:
    """In some tens of steps: from their mean it would be thousands."""
    generator = torch.Generator().manual_seed(5)
    rows = torch.randn(401, 8, generator=generator)
    rows[torch.randperm(401, generator=generator)[:150]] = 1e38
    point = PointAmongRows(rows, 1e-6, _start(rows))
    gradients = [point.step()[1] for _ in range(40)]
    assert float(point.at.norm()) < 10
    assert gradients[-1] < 1e-5
