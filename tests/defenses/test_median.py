"""The coordinate-wise median: hand-worked values, numpy's, blocks, refusals."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from defenses.median import Median, coordinate_median


def test_odd_is_the_middle_value() -> None:
    assert coordinate_median(torch.tensor([[5.0, -1.0], [1.0, 9.0], [2.0, 0.0]])).tolist() == [2.0, 0.0]


def test_even_is_the_mean_of_the_two_middle_values() -> None:
    messages = torch.tensor([[5.0, -1.0], [1.0, 9.0], [2.0, 0.0], [100.0, 1.0]])
    assert coordinate_median(messages).tolist() == [3.5, 0.5]


def test_one_row_is_its_own_median_and_two_have_their_mean() -> None:
    assert coordinate_median(torch.tensor([[3.0, -4.0]])).tolist() == [3.0, -4.0]
    assert coordinate_median(torch.tensor([[3.0, -4.0], [6.0, 0.0]])).tolist() == [4.5, -2.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("num_messages", "dim"), [(3, 1), (10, 57), (99, 3000), (1000, 601), (1001, 601)])
def test_is_numpys_median_over_several_blocks(num_messages: int, dim: int, dtype: torch.dtype) -> None:
    messages = torch.randn(num_messages, dim, generator=torch.Generator().manual_seed(0), dtype=dtype)
    found = coordinate_median(messages)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found.numpy(), np.median(messages.numpy(), axis=0))


@pytest.mark.parametrize("layout", ["rows", "columns", "strided", "one column", "one row"])
def test_the_callers_rows_stay_in_order_however_they_lie_in_memory(layout: str) -> None:
    whole = torch.randn(40, 30, generator=torch.Generator().manual_seed(1))
    views = {"rows": whole, "columns": whole.T, "strided": whole[::3, 1::2], "one column": whole[:, :1].contiguous()}
    messages = views.get(layout, whole[:1])
    before, expected = messages.clone(), np.median(messages.numpy(), axis=0)
    np.testing.assert_array_equal(coordinate_median(messages).numpy(), expected)
    assert torch.equal(messages, before)


def test_the_two_middle_values_may_be_the_largest_numbers_that_there_are() -> None:
    largest = torch.finfo(torch.float32).max
    assert coordinate_median(torch.tensor([[largest], [largest]])).item() == largest


@pytest.mark.parametrize(
    "messages",
    [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(3), torch.tensor([[torch.nan]]), torch.tensor([[torch.inf]])],
    ids=["no rows", "no columns", "vector", "nan", "infinite"],
)
def test_messages_out_of_range_are_refused(messages: Tensor) -> None:
    with pytest.raises(ValueError, match="messages"):
        coordinate_median(messages)


def test_the_server_adds_the_median_update_to_the_broadcast(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    messages = torch.tensor([[5.0, -1.0], [1.0, 9.0], [2.0, 0.0]])
    server = server_round(make_setting(participants=3), torch.tensor([10.0, 20.0]), 3)
    assert Median().aggregate(Delivered(messages, torch.arange(3)), server).tolist() == [12.0, 20.0]


@pytest.mark.parametrize(("fraction", "fine"), [(0.0, True), (0.49, True), (0.5, False)])
def test_it_tolerates_less_than_half(fraction: float, fine: bool, make_setting: Callable[..., Setting]) -> None:
    assert Median().tolerates(fraction, make_setting()) is fine
