"""FedAvg's weighted mean: hand-worked values, exact fractions, refusals."""

from collections.abc import Callable
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from defenses.fedavg import FedAvg, weighted_mean

MESSAGES = torch.tensor([[1.0, 2.0], [3.0, 6.0], [8.0, 1.0]])


def test_equal_weights_by_default() -> None:
    torch.testing.assert_close(weighted_mean(MESSAGES), torch.tensor([4.0, 3.0]))


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_only_the_ratios_of_the_weights_count(scale: float) -> None:
    weights = scale * torch.tensor([1.0, 2.0, 1.0])
    torch.testing.assert_close(weighted_mean(MESSAGES, weights), torch.tensor([15 / 4, 15 / 4]))


def test_counts_of_samples_are_weights_too() -> None:
    torch.testing.assert_close(weighted_mean(MESSAGES, torch.tensor([600, 0, 200])), torch.tensor([2.75, 1.75]))


def test_a_row_of_weight_zero_does_not_count_however_large() -> None:
    messages = torch.tensor([[1.0], [1e38], [3.0]])
    assert weighted_mean(messages, torch.tensor([1.0, 0.0, 1.0])).tolist() == [2.0]


def test_weights_too_small_for_all_their_digits_weigh_as_others_do() -> None:
    tiny = torch.tensor([3e-45, 1e-45])  # twice and once the smallest number of float32
    assert weighted_mean(torch.tensor([[0.3], [0.9]]), tiny).item() == pytest.approx(0.5, rel=1e-6)


@given(st.lists(st.tuples(st.integers(-999, 999), st.integers(0, 99)), min_size=1, max_size=12))
def test_against_exact_fractions(rows: list[tuple[int, int]]) -> None:
    rows = [*rows, (7, 1)]
    exact = sum(Fraction(x) * p for x, p in rows) / sum(p for _, p in rows)
    messages = torch.tensor([[float(x)] for x, _ in rows], dtype=torch.float64)
    weights = torch.tensor([float(p) for _, p in rows], dtype=torch.float64)
    assert weighted_mean(messages, weights).item() == pytest.approx(float(exact), rel=1e-12, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_messages_dtype_is_kept(dtype: torch.dtype) -> None:
    found = weighted_mean(MESSAGES.to(dtype), torch.tensor([1.0, 1.0, 1.0], dtype=torch.float64))
    assert found.dtype == dtype
    assert found.shape == (2,)


@pytest.mark.parametrize(
    "messages",
    [torch.zeros(0, 3), torch.zeros(3, 0), torch.zeros(3), torch.tensor([[torch.nan]]), torch.tensor([[-torch.inf]])],
    ids=["no rows", "no columns", "vector", "nan", "infinite"],
)
def test_messages_out_of_range_are_refused(messages: Tensor) -> None:
    with pytest.raises(ValueError, match="messages"):
        weighted_mean(messages)


@pytest.mark.parametrize(
    "weights",
    [[1.0, 1.0], [1.0, -1.0, 1.0], [0.0, 0.0, 0.0], [1.0, torch.nan, 1.0], [1.0, torch.inf, 1.0]],
    ids=["too few", "negative", "all zero", "nan", "infinite"],
)
def test_weights_out_of_range_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights"):
        weighted_mean(MESSAGES, torch.tensor(weights))


def test_the_server_adds_the_mean_update_to_the_broadcast(make_setting: Callable[..., Setting]) -> None:
    broadcast = torch.tensor([10.0, 20.0])
    server = ServerRound(0, make_setting(), broadcast, torch.tensor([0.5, 0.25, 0.25]), torch.Generator())
    found = FedAvg().aggregate(Delivered(MESSAGES, torch.arange(3)), server)
    torch.testing.assert_close(found, torch.tensor([13.25, 22.75]))


def test_it_claims_nothing_and_uploads_float32(make_setting: Callable[..., Setting]) -> None:
    setting = make_setting(dim=650)
    assert FedAvg().claim(setting) is None
    assert FedAvg().composed(setting) is None
    assert FedAvg().upload_bytes(setting) == 2600
    assert FedAvg().peer_bytes(setting) == 0
    assert FedAvg().tolerates(0.0, setting)
    assert not FedAvg().tolerates(0.01, setting)
