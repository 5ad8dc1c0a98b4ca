"""Gram matrices and what is measured by them, against float64: close rows, far-off rows, blocks and groups."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.rules import gram as module
from bench.rules.gram import (
    GRAM_BLOCK,
    GRAM_ROWS,
    checked_gram,
    gram_matrix,
    nearest_sums,
    norms_of,
    over_distances,
    squared_distances,
    squared_distances_from,
    sum_of_smallest,
)


def rows(num_rows: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distances_by_definition(messages: Tensor) -> Tensor:
    exact = messages.double()
    return (exact[:, None] - exact[None]).square().sum(dim=2)


def test_inner_products_of_the_centred_rows() -> None:
    """Rows (0, 0), (3, 0), (0, 6) have the mean (1, 2)."""
    gram = gram_matrix(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 6.0]]))
    expected = torch.tensor([[5.0, 2.0, -7.0], [2.0, 8.0, -10.0], [-7.0, -10.0, 17.0]])
    torch.testing.assert_close(gram, expected.double())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, GRAM_BLOCK - 1, GRAM_BLOCK, 2 * GRAM_BLOCK + 5])
def test_blocks_add_up_to_the_whole(dim: int, dtype: torch.dtype) -> None:
    messages = rows(6, dim, dtype=dtype)
    centred = messages.double() - messages.double().mean(dim=0)
    gram = gram_matrix(messages)
    assert gram.dtype == torch.float64
    torch.testing.assert_close(gram, centred @ centred.T, rtol=1e-5, atol=1e-6 * dim)


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e3])
@pytest.mark.parametrize("spread", [1.0, 1e-2, 1e-4])
def test_distances_survive_a_common_offset_and_a_row_far_away(offset: float, spread: float) -> None:
    """To 0.1 %, in float32: a cluster of five, and one row at distance 10,000 times the spread."""
    messages = (offset + spread * rows(6, 3000).double()).float()
    messages[5] += 1e4 * spread
    found = squared_distances(gram_matrix(messages))
    torch.testing.assert_close(found, distances_by_definition(messages), rtol=1e-3, atol=0)


@pytest.mark.parametrize("size", [1e6, 1e9, 1e20, 1e38])
def test_distances_in_a_cluster_survive_rows_of_any_size(size: float) -> None:
    messages = rows(7, 200)
    messages[5:] = size
    found = squared_distances(gram_matrix(messages))
    assert bool(torch.isfinite(found).all())
    torch.testing.assert_close(found[:5, :5], distances_by_definition(messages[:5]), rtol=1e-3, atol=0)


def test_equal_rows_have_distance_zero_and_close_ones_their_own() -> None:
    messages = rows(4, 5000)
    messages[1] = messages[0]
    messages[2] = messages[0]
    messages[2, 7] += 1e-2
    found = squared_distances(gram_matrix(messages))
    scale = float(messages[0].square().sum())
    assert float(found[0, 1]) < 1e-12 * scale
    assert float(found[0, 2]) == pytest.approx(float((messages[2, 7] - messages[0, 7]).double() ** 2), rel=1e-3)


@pytest.mark.parametrize("kind", ["plain", "close to zero", "clustered far from zero", "overflowing"])
def test_with_the_origin_the_zero_vector_is_one_more_message(kind: str) -> None:
    """Norms are its distances, also of a row next to zero and of rows so close together that all is done in float64."""
    messages = rows(6, 5000)
    match kind:
        case "close to zero":
            messages += 10
            messages[2] = 1e-3
        case "clustered far from zero":
            messages = 1e3 + 1e-2 * messages
        case "overflowing":
            messages[5] = 1e38
    found = squared_distances(gram_matrix(messages, origin=True))
    expected = distances_by_definition(torch.cat([messages, torch.zeros(1, 5000)]))
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(norms_of(messages), expected[-1, :-1].sqrt(), rtol=1e-5, atol=0)


def test_the_callers_messages_stay() -> None:
    messages = rows(5, 100)
    before = messages.clone()
    gram_matrix(messages)
    assert torch.equal(messages, before)


def test_squared_distances_from_a_gram_matrix() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]]).double()
    found = squared_distances(points @ points.T, diagonal=math.inf)
    inf = math.inf
    assert found.tolist() == [[inf, 25.0, 100.0], [25.0, inf, 25.0], [100.0, 25.0, inf]]
    assert squared_distances(points @ points.T).diagonal().tolist() == [0.0, 0.0, 0.0]


def test_squared_distances_are_never_negative() -> None:
    gram = torch.tensor([[1.0, 1.0 + 1e-9], [1.0 + 1e-9, 1.0]]).double()
    assert squared_distances(gram).tolist() == [[0.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("origin", [False, True])
def test_equal_rows_among_others_have_distance_zero_and_the_rest_stays_exact(origin: bool) -> None:
    """As attackers send them: 190 close pairs, all of them equal."""
    rows = torch.randn(100, 300, generator=torch.Generator().manual_seed(0)) + 5
    rows[3:23] = rows[3]
    found = squared_distances(gram_matrix(rows, origin))
    exact = torch.cat([rows, torch.zeros(1, 300)]).double() if origin else rows.double()
    torch.testing.assert_close(found, (exact[:, None] - exact[None]).square().sum(dim=2), rtol=1e-5, atol=0)
    assert not found[3:23, 3:23].any()


@pytest.fixture(params=[1, 100, module.DISTANCES_AT_ONCE])
def at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """So many distances at a time: a row, some rows, all of them."""
    monkeypatch.setattr(module, "DISTANCES_AT_ONCE", request.param)
    return int(request.param)


def test_close_pairs_are_found_whatever_the_groups(at_once: int) -> None:
    messages = rows(30, 300)
    for i, j in [(0, 29), (7, 8), (14, 15), (15, 14)]:
        messages[j] = messages[i]
    messages[8, 0] += 1e-3
    found = squared_distances(gram_matrix(messages))
    torch.testing.assert_close(found, distances_by_definition(messages), rtol=1e-5, atol=1e-12)
    assert not found[[0, 14], [29, 15]].any()


@pytest.mark.parametrize("n", [1, GRAM_ROWS - 1, GRAM_ROWS, 2 * GRAM_ROWS + 3])
def test_a_gram_matrix_is_symmetric_to_the_last_bit(n: int) -> None:
    gram = gram_matrix(rows(n, 50))
    assert torch.equal(gram, gram.mT)
    centred = rows(n, 50).double() - rows(n, 50).double().mean(dim=0)
    torch.testing.assert_close(gram, centred @ centred.mT, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_made_of_distances_is_made_of_all_of_them_in_order(
    at_once: int, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    gram = gram_matrix(rows(40, 30))
    expected = squared_distances(gram, diagonal=math.inf)
    seen: list[int] = []

    def copied(distances: np.ndarray) -> np.ndarray:
        seen.append(distances.size)
        return distances.copy()

    assert torch.equal(over_distances(gram, copied, diagonal=math.inf), expected)
    assert max(seen) <= max(40, at_once)
    assert sum(seen) == 40 * 40
    assert torch.equal(nearest_sums(gram, 7), sum_of_smallest(expected, 7))
    assert torch.equal(nearest_sums(gram, 7, power=4), sum_of_smallest(expected.square(), 7))


@pytest.mark.parametrize("row", [0, 3, -1])
def test_distances_from_one_row_are_a_row_of_all_distances(row: int) -> None:
    gram = gram_matrix(rows(6, 20), origin=True)
    assert torch.equal(squared_distances_from(gram, row), squared_distances(gram)[row])


@pytest.mark.parametrize("count", [0, 1, 3, 5])
def test_the_smallest_values_are_added_up(count: int) -> None:
    values = torch.tensor([[3.0, math.inf, 1.0, 2.0, 0.5], [5.0, 4.0, 3.0, 2.0, 1.0]]).double()
    assert sum_of_smallest(values, count).tolist() == values.sort(dim=1).values[:, :count].sum(dim=1).tolist()


@pytest.mark.parametrize(
    ("dtype", "size", "told"), [(torch.float32, math.nan, "not finite"), (torch.float64, 1e200, "too large")]
)
def test_a_checked_gram_matrix_is_finite(dtype: torch.dtype, size: float, told: str) -> None:
    messages = rows(5, 8, dtype=dtype)
    messages[2, 3] = size
    with pytest.raises(ValueError, match=f"messages is '{told}'"):
        checked_gram(messages)


@given(st.integers(0, 1000), st.integers(2, 12), st.booleans())
def test_the_forms_for_a_gpu_are_the_same(seed: int, size: int, twins: bool) -> None:
    messages = rows(size, 5, seed, torch.float64)
    if twins:
        messages[1] = messages[0]
    products = messages @ messages.mT
    assert torch.equal(module._close_pairs_at_once(products), module._close_pairs(products))
    found = module._smallest_sums_at_once(products, size // 2)
    torch.testing.assert_close(found, sum_of_smallest(products, size // 2))
