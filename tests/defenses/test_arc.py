"""Adaptive robust clipping: published values, the count in whole numbers, huge rows, refusals."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defenses.arc import arc, arc_scales

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
LARGER = torch.tensor([[(3 * i + 5 * j * j + i * i * j) % 11 for j in range(3)] for i in range(7)], dtype=torch.float64)


def test_published_values() -> None:
    """ByzFL's documentation of ARC, and its 0.0.11 on the larger one: floor(4 / 7 * 5) = 2 are cut."""
    expected = torch.tensor([[1, 2, 3], [4, 5, 6], [4.41004009, 5.04004582, 5.67005155]])
    torch.testing.assert_close(arc(X, 1), expected)
    cut = [[0, 4.6327382994232895, 8.33892893896192], [2.8762349126466136, 8.62870473793984, 2.8762349126466136]]
    expected = torch.cat([torch.tensor(cut, dtype=torch.float64), LARGER[2:]])
    torch.testing.assert_close(arc(LARGER, 2), expected)


def test_how_many_are_cut_is_counted_in_whole_numbers() -> None:
    """n = 242, f = 33: 66 * 209 / 242 = 57, where 2 * 33 / 242 * 209 is 56.99999999999999."""
    norms = torch.arange(1, 243, dtype=torch.float64)
    assert int((2 * 33 / 242) * 209) == 56
    assert int((arc_scales(norms, 33) < 1).sum()) == 57


def test_the_callers_messages_stay() -> None:
    before = X.clone()
    arc(X, 1)
    assert torch.equal(X, before)


@given(st.integers(1, 12), st.integers(0, 5), st.integers(0, 99))
def test_it_is_the_definition(n: int, f: int, seed: int) -> None:
    f = min(f, (n - 1) // 2)
    messages = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed)).double()
    lengths = sorted((row.norm().item() for row in messages), reverse=True)
    bound = lengths[(2 * f * (n - f)) // n]
    expected = torch.stack([row * min(1.0, bound / row.norm().item()) for row in messages])
    torch.testing.assert_close(arc(messages, f), expected)


@pytest.mark.parametrize("size", [1e4, 1e20, 3e38])
def test_huge_rows_are_as_long_as_the_longest_that_stays(size: float) -> None:
    messages = torch.randn(7, 4, generator=torch.Generator().manual_seed(0))
    messages[:2] = size
    clipped = arc(messages, 2)
    bound = messages[2:].norm(dim=1).max()
    torch.testing.assert_close(clipped[:2], (bound / 2).expand(2, 4))
    assert torch.equal(clipped[2:], messages[2:])


def test_zero_messages_stay_zero() -> None:
    assert arc(torch.tensor([[0.0], [0.0], [0.0], [5.0], [-5.0]]), 2).flatten().tolist() == [0.0] * 5


@pytest.mark.parametrize(("n", "f"), [(4, 2), (3, -1)])
def test_too_many_byzantine_are_refused(n: int, f: int) -> None:
    with pytest.raises(ValueError, match=f"num_byzantine is {f}"):
        arc(torch.zeros(n, 2), f)
