"""What forging attacks share: moments against float64, the line search, the measure of harm."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.attacking.forging import check_number, copies, deviation, fit, line_search, moments
from bench.protocol import Alphabet


@pytest.mark.parametrize("ddof", [0, 1])
@given(h=st.integers(2, 9), d=st.integers(1, 40), seed=st.integers(0, 99), offset=st.sampled_from([0.0, 1e3]))
def test_moments_are_those_of_the_definition(ddof: int, h: int, d: int, seed: int, offset: float) -> None:
    x = offset + torch.randn(h, d, generator=torch.Generator().manual_seed(seed))
    mean, std = moments(x, ddof)
    exact = x.double()
    torch.testing.assert_close(mean.double(), exact.mean(dim=0), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(std.double(), exact.std(dim=0, correction=ddof), rtol=1e-4, atol=1e-6 * max(1, offset))


def test_moments_over_many_blocks() -> None:
    x = torch.randn(600, 3000, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(moments(x)[1], x.std(dim=0, correction=0))


def test_copies_are_one_row_and_votes_their_signs() -> None:
    row = torch.tensor([0.2, -3.0, 0.0])
    assert copies(row, 3).tolist() == [row.tolist()] * 3
    assert copies(row, 0).shape == (0, 3)
    assert fit(copies(row, 1), Alphabet.REAL) is not None
    assert fit(copies(row, 2), Alphabet.TERNARY).tolist() == [[1, -1, 0]] * 2
    assert fit(copies(row, 2), Alphabet.TERNARY).dtype == torch.int8


@given(peak=st.floats(0.2, 50))
def test_the_search_comes_within_a_finer_step_of_a_single_peak(peak: float) -> None:
    """Ten points from 0.1 to 100 are a factor 2.15 apart; ten more between the best's neighbours, a factor 1.15."""
    found = line_search(lambda x: -abs(math.log(x / peak)), 0.1, 100, 10)
    assert abs(math.log(found / peak)) <= math.log(1000 ** (2 / 9)) / 11 + 1e-9


def test_ends_of_the_grid_are_found_and_bad_grids_refused() -> None:
    assert line_search(lambda x: x, 0.1, 100, 5) == pytest.approx(100)
    assert line_search(lambda x: -x, 0.1, 100, 5) == pytest.approx(0.1)
    for low, high in ((0.0, 1.0), (2.0, 1.0), (1.0, math.inf), (0.1, 1.7e308)):
        with pytest.raises(ValueError, match="low, high"):
            line_search(lambda x: x, low, high, 3)


def test_an_output_that_is_not_finite_is_infinitely_far_off() -> None:
    honest = torch.tensor([[0.0, 0.0], [6.0, 8.0]])
    assert deviation(lambda rows: rows[-1], honest)(torch.zeros(1, 2)) == pytest.approx(5.0)
    assert deviation(lambda rows: rows[-1], honest)(torch.full((1, 2), math.nan)) == math.inf


def test_only_a_type_of_messages_can_hold_a_number() -> None:
    check_number("s", 3e38, torch.float32)
    for value, dtype, told in ((4e38, torch.float32, "s is 4e"), (1.0, torch.int8, "dtype is torch.int8")):
        with pytest.raises(ValueError, match=told):
            check_number("s", value, dtype)
