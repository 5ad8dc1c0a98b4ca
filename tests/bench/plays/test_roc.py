"""ROC curves against scikit-learn's, ties and all."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from bench.plays import roc

scores = st.lists(st.integers(-5, 5), min_size=1, max_size=60)  # whole numbers: many are tied


@given(scores, scores, st.floats(0, 1))
def test_area_and_rates_are_those_of_scikit_learn(members: list[int], others: list[int], rate: float) -> None:
    inside, outside = torch.tensor(members).double(), torch.tensor(others).double()
    truth = np.array([1] * len(members) + [0] * len(others))
    false, true, _ = roc_curve(truth, np.array(members + others), drop_intermediate=False)
    assert roc.auc(inside, outside) == pytest.approx(roc_auc_score(truth, np.array(members + others)))
    expected = true[false <= rate + 1e-9 / len(others)].max()
    assert roc.true_positive_rate(inside, outside, rate) == pytest.approx(expected)
    for at, found in roc.curve(inside, outside):
        assert found == pytest.approx(true[false <= at + 1e-6].max(), abs=1e-6)


def test_a_rate_that_so_few_images_do_not_resolve_is_no_false_positive() -> None:
    members, others = torch.tensor([0.1, 0.6, 0.9, 0.95]), torch.linspace(0, 0.9, 500)
    assert roc.true_positive_rate(members, others, 0.001) == roc.true_positives(members, others, 0) == 0.25


def test_a_rate_is_not_rounded_below_the_false_positives_that_it_allows() -> None:
    """0.29 * 100 is 28.999999999999996."""
    members, others = torch.full((3,), 70.5), torch.arange(100.0)
    assert roc.true_positive_rate(members, others, 0.29) == 1
    assert roc.true_positive_rate(members, others, 0.28) == 0


@pytest.mark.parametrize("rate", [-0.1, 1.1])
def test_a_rate_beyond_one_is_refused(rate: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        roc.true_positive_rate(torch.zeros(1), torch.zeros(1), rate)


def test_a_curve_is_short_and_rises_to_one() -> None:
    draws = torch.Generator().manual_seed(0)
    found = roc.curve(torch.randn(400, generator=draws) + 1, torch.randn(400, generator=draws))
    false, true = zip(*found, strict=True)
    assert len(found) < 40
    assert found[-1] == (1, 1)
    assert false[:3] == (0, 0.0025, 0.005)
    assert list(true) == sorted(true)
