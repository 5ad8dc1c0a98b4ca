"""The two plain kinds of rule: what they are given, weights that are applied, blocks of coordinates."""

import math
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from bench.rules import COORDINATE_BLOCK_BYTES, Block, CoordinateRule, RowRule, apply_weights, mean_of


def rows(num_rows: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(num_rows, dim, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def server(num_clients: int, dim: int, assumed_byzantine: float) -> ServerRound:
    setting = Setting(num_clients, num_clients, dim, 1, 0.1, None, assumed_byzantine, 1e-6)
    weights = torch.full((num_clients,), 1 / num_clients)
    return ServerRound(0, setting, torch.full((dim,), 100.0), weights, torch.Generator())


# ---------------------------------------------------------------------------------------------------------- row rules


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

    def reduce(self, block: Block, num_byzantine: int) -> Block:
        assert bool((np.diff(np.asarray(block), axis=1) >= 0).all())
        assert block.nbytes <= COORDINATE_BLOCK_BYTES
        return block[:, num_byzantine]


class Ranked(CoordinateRule):
    """The second largest, asked for by its rank."""

    name: ClassVar[str] = "ranked"

    def ranks(self, num_messages: int) -> tuple[int, ...]:
        return (num_messages - 2,)

    def reduce(self, block: Block, num_byzantine: int) -> Block:
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
