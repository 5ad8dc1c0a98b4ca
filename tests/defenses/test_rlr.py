"""RLR: the vote by hand and against the authors' steps, and what it does to a backdoor's coordinate."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol import Setting
from defenses.rlr import RLR, learning_signs, rlr


def test_where_too_few_agree_the_mean_is_turned_round() -> None:
    """Five clients, theta 3: sums of signs 5, 3, 1, -3, and 0 with two that say nothing."""
    rows = torch.tensor(
        [
            [1.0, 1.0, 9.0, -1.0, 1.0],
            [2.0, 1.0, 1.0, -1.0, -1.0],
            [3.0, 1.0, 1.0, -1.0, 1.0],
            [4.0, 1.0, -1.0, -1.0, -1.0],
            [5.0, -1.0, -1.0, 1.0, 0.0],
        ]
    )
    assert learning_signs(rows, 3).tolist() == [1, 1, -1, 1, -1]
    torch.testing.assert_close(rlr(rows, theta=3), torch.tensor([3.0, 0.6, -1.8, -0.6, 0.0]))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 9))
def test_it_is_the_authors_steps(seed: int, n: int, theta: int) -> None:
    """Their `compute_robustLR` writes -lr below the threshold first, and then lr where a value is at least that."""
    rows = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed))
    votes = [abs(sum(1 if float(x) > 0 else -1 for x in column)) for column in rows.T]
    mean = rows.mean(dim=0)
    expected = torch.stack([mean[at] if vote >= theta else -mean[at] for at, vote in enumerate(votes)])
    torch.testing.assert_close(rlr(rows, theta=theta), expected)


def test_weights_count_in_the_mean_and_not_in_the_vote() -> None:
    rows = torch.tensor([[4.0], [1.0], [-1.0]])
    found = rlr(rows, theta=2, weights=torch.tensor([0.5, 0.25, 0.25]))
    assert found.item() == -2.0


def test_theta_is_a_share_of_the_round() -> None:
    setting = Setting(20, 10, 3, 5, 0.1, None, 0.2, 1e-6)
    assert RLR(share=0.4).derived(setting) == {"theta": 4.0}
    with pytest.raises(ValueError, match="theta is 0"):
        rlr(torch.ones(2, 2), theta=0)
