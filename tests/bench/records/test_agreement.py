"""How own records agree with published ones: the test behind `in distribution`, where seeds hardly differ."""

import math
import warnings

import pytest
from scipy import stats

from bench.records.agreement import _p_value


def test_seeds_that_are_alike_but_for_their_last_digits_are_told_apart_without_a_warning() -> None:
    old, new = [0.5, 0.5 + 1e-17, 0.5 + 2e-16], [0.5, 0.5 + 3e-16, 0.5]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert _p_value(old, new) >= 0 or math.isnan(_p_value(old, new))


def test_it_is_welch_s() -> None:
    old, new = [0.9, 0.91, 0.93], [0.7, 0.75, 0.78]
    assert _p_value(old, new) == pytest.approx(stats.ttest_ind(old, new, equal_var=False).pvalue)
    assert _p_value(old, new) < 0.05
