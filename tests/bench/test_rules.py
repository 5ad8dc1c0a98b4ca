"""The two plain kinds of rule: Gram matrices against float64, blocks of coordinates, what rules are given."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from bench.rules import (
    COORDINATE_BLOCK_BYTES,
    GRAM_BLOCK,
    CoordinateRule,
    RowRule,
    apply_weights,
    gram_matrix,
    mean_of,
    norms_of,
    squared_distances,
)


def rows(num_rows: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def distances_by_definition(messages: Tensor) -> Tensor:
    exact = messages.double()
    return (exact[:, None] - exact[None]).square().sum(dim=2)


def server(num_clients: int, dim: int, assumed_byzantine: float) -> ServerRound:
    setting = Setting(num_clients, num_clients, dim, 1, 0.1, None, assumed_byzantine, 1e-6)
    weights = torch.full((num_clients,), 1 / num_clients)
    return ServerRound(0, setting, torch.full((dim,), 100.0), weights, torch.Generator())


# ---------------------------------------------------------------------------------------------------------- row rules


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


def test_weights_of_a_mean_over_chosen_rows() -> None:
    assert mean_of(torch.tensor([3, 1]), 5).tolist() == [0.0, 0.5, 0.0, 0.5, 0.0]
    assert apply_weights(mean_of(torch.tensor([2, 0]), 3), torch.tensor([[1.0], [9.0], [4.0]])).tolist() == [2.5]


class Told(RowRule):
    """Weighs the rows by what it is told: f on the first one, the rest of 1 on the last."""

    name: ClassVar[str] = "told"

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        weights = torch.zeros(len(gram), dtype=torch.float64)
        weights[0], weights[-1] = num_byzantine, 1 - num_byzantine
        return weights


def test_a_row_rule_is_told_the_assumed_count_and_its_weights_are_applied() -> None:
    messages = torch.tensor([[1.0, 0.0], [50.0, 50.0], [7.0, 3.0]])
    found = Told().aggregate(Delivered(messages, torch.arange(3)), server(3, 2, assumed_byzantine=2 / 3))
    assert found.tolist() == [100 + 2 - 7, 100 + 0 - 3]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_row_rule_refuses_messages_that_are_not_finite_as_a_coordinate_rule_does(value: float) -> None:
    messages = torch.tensor([[1.0], [2.0], [value]])
    for rule in (Told(), Sorted()):
        with pytest.raises(ValueError, match="messages"):
            rule.aggregate(Delivered(messages, torch.arange(3)), server(3, 1, assumed_byzantine=0.0))


# --------------------------------------------------------------------------------------------------- coordinate rules


class Sorted(CoordinateRule):
    """The f-th smallest value of each coordinate; refuses a block that is not sorted."""

    name: ClassVar[str] = "sorted"

    def reduce(self, block: np.ndarray, num_byzantine: int) -> np.ndarray:
        assert bool((np.diff(block, axis=1) >= 0).all())
        assert block.nbytes <= COORDINATE_BLOCK_BYTES
        return block[:, num_byzantine]


class Ranked(CoordinateRule):
    """The second largest, asked for by its rank."""

    name: ClassVar[str] = "ranked"

    def ranks(self, num_messages: int) -> tuple[int, ...]:
        return (num_messages - 2,)

    def reduce(self, block: np.ndarray, num_byzantine: int) -> np.ndarray:
        return block[:, -2]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [1, 524, 525, 2000])
def test_every_coordinate_comes_sorted_whatever_its_block(dim: int, dtype: torch.dtype) -> None:
    """1,000 messages in float32: 524 coordinates fill a block of two megabytes."""
    messages = rows(1000, dim, dtype=dtype)
    before = messages.clone()
    ordered = messages.sort(dim=0).values
    found = Sorted().over_coordinates(messages, num_byzantine=17)
    assert found.dtype == dtype
    assert torch.equal(found, ordered[17])
    assert torch.equal(Ranked().over_coordinates(messages, num_byzantine=0), ordered[-2])
    assert torch.equal(messages, before)


def test_messages_in_column_order_are_read_and_not_sorted_in_place() -> None:
    messages = rows(40, 30, seed=1).T
    before = messages.clone()
    found = Sorted().over_coordinates(messages, num_byzantine=3)
    assert torch.equal(found, before.sort(dim=0).values[3])
    assert torch.equal(messages, before)


def test_a_coordinate_rule_is_told_the_assumed_count() -> None:
    messages = torch.tensor([[5.0, 1.0], [3.0, 9.0], [4.0, 8.0]])
    found = Sorted().aggregate(Delivered(messages, torch.arange(3)), server(3, 2, assumed_byzantine=1 / 3))
    assert found.tolist() == [104.0, 108.0]


def test_one_message_and_more_messages_than_a_block_holds() -> None:
    assert Sorted().over_coordinates(torch.tensor([[2.0, 3.0]]), 0).tolist() == [2.0, 3.0]
    many = rows(COORDINATE_BLOCK_BYTES // 8 + 1, 2, dtype=torch.float64)
    assert torch.equal(Ranked().over_coordinates(many, 0), many.sort(dim=0).values[-2])


@pytest.mark.parametrize("origin", [False, True])
def test_equal_rows_among_others_have_distance_zero_and_the_rest_stays_exact(origin: bool) -> None:
    """As attackers send them: 190 close pairs, all of them equal."""
    rows = torch.randn(100, 300, generator=torch.Generator().manual_seed(0)) + 5
    rows[3:23] = rows[3]
    found = squared_distances(gram_matrix(rows, origin))
    exact = torch.cat([rows, torch.zeros(1, 300)]).double() if origin else rows.double()
    torch.testing.assert_close(found, (exact[:, None] - exact[None]).square().sum(dim=2), rtol=1e-5, atol=0)
    assert not found[3:23, 3:23].any()
