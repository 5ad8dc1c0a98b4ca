"""Nearest-neighbour mixing: published values, the plain definition in float64, huge rows, refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from defenses.nnm import NNM, nnm

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
LARGER = torch.tensor([[(3 * i + 5 * j * j + i * i * j) % 11 for j in range(3)] for i in range(7)], dtype=torch.float64)


def by_definition(messages: Tensor, num_byzantine: int) -> Tensor:
    rows = messages.double()
    mixed = []
    for row in rows:
        nearest = (rows - row).square().sum(dim=1).sort(stable=True).indices[: len(rows) - num_byzantine]
        mixed.append(rows[nearest].mean(dim=0))
    return torch.stack(mixed)


def test_published_values() -> None:
    """ByzFL's documentation of NNM, and its 0.0.11 on the larger one."""
    assert nnm(X, 1).tolist() == [[2.5, 3.5, 4.5], [2.5, 3.5, 4.5], [5.5, 6.5, 7.5]]
    expected = [[2.8, 3.8, 6.0], [4.0, 4.6, 4.2], [5.8, 3.8, 3.0], [5.8, 3.8, 3.0]]
    expected += [[4.0, 2.2, 6.0], [4.0, 2.2, 6.0], [5.8, 3.8, 3.0]]
    torch.testing.assert_close(nnm(LARGER, 2), torch.tensor(expected, dtype=torch.float64))


def test_without_byzantine_clients_all_get_the_mean() -> None:
    torch.testing.assert_close(nnm(X, 0), X.mean(dim=0).expand(3, 3))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", ["plain", "clustered far from zero", "duplicates", "far-off rows"])
def test_it_is_the_definition_in_float64(kind: str, seed: int) -> None:
    messages = torch.randn(20, 5000, generator=torch.Generator().manual_seed(seed))
    if kind == "clustered far from zero":
        messages = 1000 + 0.05 * messages
    elif kind == "duplicates":
        messages[5:10] = messages[:5]
    elif kind == "far-off rows":
        messages[:6] *= 1e6
    expected = by_definition(messages, 6)
    torch.testing.assert_close(nnm(messages, 6).double(), expected, rtol=1e-5, atol=1e-5)


def test_many_rows_are_mixed_some_at_a_time() -> None:
    messages = torch.randn(600, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(nnm(messages, 150), by_definition(messages, 150))


def test_neighbours_are_true_neighbours_far_from_zero() -> None:
    """30 rows at 1000, of spread 0.05: products about zero in float32 (torch.cdist) would choose other neighbours."""
    messages = 1000 + 0.05 * torch.randn(30, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(nnm(messages, 10).double(), by_definition(messages, 10), rtol=0, atol=5e-4)
    wrong = torch.cdist(messages, messages).argsort(dim=1)[:, :20]
    assert float((messages.double()[wrong].mean(dim=1) - by_definition(messages, 10)).abs().max()) > 0.01


@given(st.integers(3, 12), st.integers(0, 5), st.sampled_from([1e4, 1e20, 1e38]))
def test_far_off_rows_reach_no_honest_one(n: int, f: int, size: float) -> None:
    f = min(f, (n - 1) // 2)
    messages = torch.randn(n, 4, generator=torch.Generator().manual_seed(n))
    messages[:f] = size
    honest = nnm(messages, f)[f:]
    assert float(honest.abs().max()) < 10
    torch.testing.assert_close(honest, messages[f:].mean(dim=0).expand_as(honest))


@given(st.integers(0, 99), st.integers(0, 3))
def test_the_order_of_the_rows_is_the_order_of_the_mixed(seed: int, f: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    messages, order = torch.randn(8, 5, generator=generator).double(), torch.randperm(8, generator=generator)
    torch.testing.assert_close(nnm(messages[order], f), nnm(messages, f)[order])
    torch.testing.assert_close(nnm(4 * messages + 7, f), 4 * nnm(messages, f) + 7)


@pytest.mark.parametrize(("n", "f"), [(4, 2), (3, -1)])
def test_too_many_byzantine_are_refused(n: int, f: int) -> None:
    with pytest.raises(ValueError, match=f"num_byzantine is {f}"):
        nnm(torch.zeros(n, 2), f)
    assert NNM().rule == "trimmed_mean"
