"""FoundationFL: scores by hand and by loops, copies before both of its rules, refusals."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol import Delivered, ServerRound, Setting
from defenses.foundation_fl import FoundationFL, extreme_scores, foundation_fl
from defenses.median import coordinate_median
from defenses.trimmed_mean import trimmed_mean


def test_scores_by_hand() -> None:
    """0, 1, 4, 9: the extremes are 9 and 0, and 4 is 4 away from the nearer one."""
    rows = torch.tensor([[0.0], [1.0], [4.0], [9.0]])
    assert extreme_scores(rows).tolist() == [0, 1, 4, 0]
    assert foundation_fl(rows)[:, 0].tolist() == [0, 1, 4, 9, 4, 4]
    assert foundation_fl(rows, 0).tolist() == rows.tolist()


@given(st.integers(0, 10_000), st.integers(1, 12), st.integers(1, 6))
def test_scores_are_those_of_the_loops(seed: int, n: int, d: int) -> None:
    rows = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    high = torch.tensor([max(column) for column in rows.T.tolist()], dtype=torch.float64)
    low = torch.tensor([min(column) for column in rows.T.tolist()], dtype=torch.float64)
    expected = [min(float((row - high).norm()), float((row - low).norm())) for row in rows]
    assert extreme_scores(rows).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("rule", ["trimmed_mean", "median"])
def test_the_rule_sees_the_copies_and_assumes_as_many_attackers(
    rule: str, make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    rows = torch.randn(10, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    rows[:2] += 10
    setting = make_setting(num_clients=10, participants=10)
    server = server_round(setting, torch.zeros(7, dtype=torch.float64), 10)
    defense = FoundationFL(rule=rule)
    found = defense.aggregate(Delivered(rows, torch.arange(10)), server)
    more = foundation_fl(rows)
    assert len(more) == 15
    expected = trimmed_mean(more, 2) if rule == "trimmed_mean" else coordinate_median(more)
    torch.testing.assert_close(found, expected)
    assert defense.inner(setting).num_byzantine == 2
    assert defense.tolerates(0.2, setting)


def test_an_attacker_in_the_middle_is_copied() -> None:
    """Honest messages lie on the edge of the cube; who sends its centre is furthest from both corners."""
    honest = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    forged = torch.cat([honest, torch.tensor([[0.0, 0.0]])])
    assert extreme_scores(forged).tolist() == pytest.approx([2, 2, 0, 0, 2**0.5])
    inner = torch.cat([0.5 * honest[2:], torch.tensor([[0.0, 0.0]]), honest[2:]])
    assert foundation_fl(inner, 1)[-1].tolist() == [0, 0]


def test_refusals() -> None:
    with pytest.raises(ValueError, match="num_synthetic is -1"):
        foundation_fl(torch.ones(3, 2), -1)
