"""The trimmed mean: hand-worked, against scipy, and through a federation."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import trim_mean

from bench.protocol import Setting
from defenses.median import coordinate_median
from defenses.trimmed_mean import TrimmedMean, trimmed_mean


def test_the_largest_and_smallest_are_left_out() -> None:
    messages = torch.tensor([[1.0, 9.0], [2.0, -100.0], [3.0, 8.0], [100.0, 7.0], [-100.0, 6.0]])
    assert trimmed_mean(messages, 1).tolist() == [2.0, 7.0]
    assert trimmed_mean(messages, 0).tolist() == messages.mean(dim=0).tolist()


@given(st.integers(1, 30), st.integers(1, 40), st.data())
def test_it_is_scipys(n: int, d: int, data: st.DataObject) -> None:
    """`trim_mean` cuts int(share * n) at each end."""
    f = data.draw(st.integers(0, (n - 1) // 2))
    messages = torch.randn(n, d, generator=torch.Generator().manual_seed(n * 41 + d), dtype=torch.float64)
    expected = torch.from_numpy(trim_mean(messages.numpy(), (f + 0.5) / n, axis=0))
    torch.testing.assert_close(trimmed_mean(messages, f), expected, rtol=0, atol=1e-12)


def test_trimmed_to_the_last_it_is_the_median() -> None:
    messages = torch.randn(9, 50, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(trimmed_mean(messages, 4), coordinate_median(messages))


@given(st.integers(0, 3), st.floats(-1e6, 1e6))
def test_f_forged_rows_cannot_leave_the_honest_range(f: int, value: float) -> None:
    honest = torch.randn(7, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    found = trimmed_mean(torch.cat([torch.full((f, 5), value, dtype=torch.float64), honest]), f)
    assert bool(((found >= honest.amin(dim=0) - 1e-12) & (found <= honest.amax(dim=0) + 1e-12)).all())


@pytest.mark.parametrize(("n", "f"), [(4, 2), (3, 2), (2, -1)])
def test_too_much_to_trim_is_refused(n: int, f: int, make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match=f"num_byzantine is {f}, but must be between 0 and"):
        trimmed_mean(torch.zeros(n, 2), f)
    if f > 0:
        with pytest.raises(ValueError, match="assumed Byzantine clients"):
            TrimmedMean().start(make_setting(participants=n, assumed_byzantine=f / n))


def test_it_claims_to_stand_the_assumed_fraction(make_setting: Callable[..., Setting]) -> None:
    setting = make_setting(participants=20, assumed_byzantine=0.2)
    assert TrimmedMean().tolerates(0.2, setting)
    assert not TrimmedMean().tolerates(0.25, setting)
