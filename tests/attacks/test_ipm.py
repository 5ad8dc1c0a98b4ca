"""Inner product manipulation: minus epsilon times the mean, which turns a mean round exactly when f epsilon > h."""

from collections.abc import Callable

import pytest
import torch

from attacks.ipm import IPM, ipm
from bench.protocol import Alphabet
from bench.threat import ByzantineView

ROWS = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])


def test_three_rows() -> None:
    """The value in the documentation of ByzFL 0.0.11, which calls epsilon tau."""
    assert ipm(ROWS, 2, epsilon=2.0).tolist() == [[-8.0, -10.0, -12.0]] * 2


@pytest.mark.parametrize(("epsilon", "negative"), [(1.4, False), (1.6, True)])
def test_a_mean_is_turned_round_exactly_above_h_over_f(epsilon: float, negative: bool) -> None:
    """(h - f epsilon) / n times the honest mean: h = 3, f = 2."""
    output = torch.cat([ROWS, ipm(ROWS, 2, epsilon)]).mean(dim=0)
    assert bool(output @ ROWS.mean(dim=0) < 0) is negative


def test_votes_are_against_the_honest_sum(omniscient_view: Callable[..., ByzantineView]) -> None:
    votes = torch.tensor([[1.0, -1.0, 0.0], [1.0, 0.0, 0.0], [-1.0, -1.0, 0.0]])
    forged = IPM().forge(omniscient_view(votes, torch.zeros(2, 3, dtype=torch.int8), Alphabet.TERNARY))
    assert forged.tolist() == [[-1, 1, 0], [-1, 1, 0]]


@pytest.mark.parametrize("epsilon", [0.0, -1.0, float("inf")])
def test_epsilon_out_of_range_is_refused(epsilon: float) -> None:
    with pytest.raises(ValueError, match="epsilon is"):
        ipm(ROWS, 1, epsilon)
    with pytest.raises(ValueError, match="epsilon\n"):
        IPM(epsilon=epsilon)
