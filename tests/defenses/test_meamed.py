"""The mean around the median: published values, the plain definition in exact fractions, ties, duplicates, refusals."""

from collections.abc import Callable
from fractions import Fraction
from statistics import median

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Setting
from defenses.meamed import Meamed, meamed, mean_around_median, nearest_to_the_median

X = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
LARGER = torch.tensor([[(3 * i + 5 * j * j + i * i * j) % 11 for j in range(3)] for i in range(7)], dtype=torch.float64)


def by_definition(values: list[float], kept: int) -> float:
    """In exact fractions; of two values at the same distance the smaller one."""
    exact = sorted(Fraction(value) for value in values)
    middle = median(exact)
    nearest = sorted(exact, key=lambda value: abs(value - middle))[:kept]  # stable: the smaller one first
    return float(sum(nearest) / kept)


def test_published_values() -> None:
    """ByzFL's documentation of Meamed, and its 0.0.11 on the larger one."""
    assert meamed(X, 1).tolist() == [2.5, 3.5, 4.5]
    assert meamed(LARGER, 1).tolist() == [3.5, 2.5, 4.0]
    torch.testing.assert_close(meamed(LARGER, 2), torch.tensor([4.2, 3.0, 3.0], dtype=torch.float64))


def test_the_median_of_an_even_count_is_the_mean_of_the_middle_two() -> None:
    """Of 0, 4, 6, 9.5 it is 5: 9.5 is 4.5 away and 0 is 5; from the lower middle, 4, it would be 5.5 and 4."""
    assert meamed(torch.tensor([[0.0], [4.0], [6.0], [9.5]]), 1).item() == 6.5


def test_of_two_at_the_same_distance_the_smaller_stays() -> None:
    assert meamed(torch.tensor([[-1.0], [0.0], [1.0]]), 1).item() == -0.5


def test_a_duplicate_at_the_edge_makes_room_too() -> None:
    """Median 5, twice 1 at distance 4: both leave for 6 and 7."""
    assert meamed(torch.tensor([[1.0], [1.0], [5.0], [6.0], [7.0]]), 2).item() == 6.0


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.integers(-3, 3).map(float), min_size=1, max_size=15), st.data())
def test_it_is_the_definition(values: list[float], data: st.DataObject) -> None:
    """Any number kept, also fewer than half, as Bulyan asks for; wherever float64 holds twice the median exactly."""
    twice = 2 * median(map(Fraction, values))
    assume(Fraction(float(twice)) == twice)  # of 0, 2^-54 and 1, 1 its rounding makes 0 as near as 2^-54
    kept = data.draw(st.integers(1, len(values)))
    block = np.sort(np.array([values], dtype=np.float32), axis=1)
    found = float(mean_around_median(block, kept)[0])
    scale = max(abs(value) for value in values) + 1e-30
    assert found == pytest.approx(by_definition(values, kept), rel=0, abs=4e-7 * scale)


@given(
    st.lists(st.lists(st.integers(-3, 3).map(float), min_size=7, max_size=7), min_size=1, max_size=5), st.integers(1, 7)
)
def test_the_form_for_a_gpu_is_the_same(rows: list[list[float]], kept: int) -> None:
    """Small whole numbers: ties abound, and sums are exact in any order."""
    block = np.sort(np.array(rows, dtype=np.float64), axis=1)
    found = nearest_to_the_median(torch.from_numpy(block), kept)
    np.testing.assert_allclose(found.numpy(), mean_around_median(block, kept), rtol=1e-12)


@given(st.integers(1, 3), st.sampled_from([1e6, 1e30, -3e38]))
def test_f_forged_rows_leave_the_honest_range_by_nothing(f: int, value: float) -> None:
    """What is kept is no farther from the median than the f + 1-th farthest, and the median is honest."""
    honest = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    found = meamed(torch.cat([torch.full((f, 5), value), honest]), f)
    assert bool(((found >= honest.amin(dim=0)) & (found <= honest.amax(dim=0))).all())


@given(st.integers(0, 99), st.integers(0, 3))
def test_it_moves_and_scales_with_the_messages_and_does_not_see_their_order(seed: int, f: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    messages, order = torch.randn(8, 5, generator=generator).double(), torch.randperm(8, generator=generator)
    torch.testing.assert_close(meamed(messages[order], f), meamed(messages, f))
    torch.testing.assert_close(meamed(3 * messages + 7, f), 3 * meamed(messages, f) + 7)


@pytest.mark.parametrize(("n", "f"), [(4, 2), (3, -1)])
def test_too_many_byzantine_are_refused(n: int, f: int, make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match=f"num_byzantine is {f}"):
        meamed(torch.zeros(n, 2), f)
    if f > 0:
        with pytest.raises(ValueError, match="assumed Byzantine clients"):
            Meamed().start(make_setting(participants=n, assumed_byzantine=f / n))


def test_blocks_do_not_show(make_setting: Callable[..., Setting]) -> None:
    messages: Tensor = torch.randn(30, 40_000, generator=torch.Generator().manual_seed(0))
    middle = np.median(messages.numpy(), axis=0)
    order = np.abs(messages.numpy() - middle).argsort(axis=0, kind="stable")[:23]
    expected = np.take_along_axis(messages.numpy(), order, axis=0).mean(axis=0)
    np.testing.assert_allclose(meamed(messages, 7).numpy(), expected, rtol=0, atol=1e-6)
    assert Meamed().tolerates(0.2, make_setting(assumed_byzantine=0.2))
