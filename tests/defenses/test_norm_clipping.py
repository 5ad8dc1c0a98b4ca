"""Norm clipping: hand-worked, the mean of rows clipped one by one, how far f messages can pull."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import clip
from defenses.norm_clipping import norm_clipping


def test_long_rows_count_as_if_they_had_the_bound() -> None:
    rows = torch.tensor([[30.0, 40.0], [0.3, 0.4], [0.0, 0.0], [-3.0, 0.0]])
    assert norm_clipping(rows, bound=5.0).tolist() == pytest.approx([(3 + 0.3 - 3) / 4, (4 + 0.4) / 4])
    torch.testing.assert_close(norm_clipping(rows, bound=50.0), rows.mean(dim=0))


def test_published_values(square: Tensor) -> None:
    """Means of the rows that ByzFL's documentation gives for its clipping to 2."""
    clipped = torch.tensor([[0.53452248, 1.06904497, 1.60356745], [0.91168461, 1.13960576, 1.36752692]]).double()
    clipped = torch.cat([clipped, torch.tensor([[1.00514142, 1.14873305, 1.29232469]]).double()])
    torch.testing.assert_close(norm_clipping(square, bound=2.0), clipped.mean(dim=0))


@pytest.mark.parametrize("bound", [0.1, 20.0, 1e5])
def test_it_is_the_mean_of_clipped_rows(adverse_rows: Tensor, bound: float) -> None:
    expected = clip(adverse_rows.double(), bound).mean(dim=0)
    found = norm_clipping(adverse_rows, bound=bound).double()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6 * float(adverse_rows.abs().max().clamp(max=bound)))


@given(st.integers(0, 10**6), st.floats(0.01, 100), st.sampled_from([1.0, 1e6, 1e38]))
def test_f_messages_move_it_by_no_more_than_their_share(seed: int, bound: float, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(7, 3, generator=generator)
    lies = (size * torch.randn(2, 3, generator=generator)).clamp(-3e38, 3e38)
    change = norm_clipping(torch.cat([lies, rows[2:]]), bound=bound) - norm_clipping(rows, bound=bound)
    assert float(change.norm()) <= 2 / 7 * 2 * bound * (1 + 1e-5)


def test_what_it_cannot_do_is_refused(square: Tensor) -> None:
    with pytest.raises(ValueError, match="bound is 0, but must be positive"):
        norm_clipping(square, bound=0)
