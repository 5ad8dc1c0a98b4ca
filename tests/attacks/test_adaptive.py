"""The adaptive search: within its budget, at least as harmful as the attacks that it starts from, for every rule."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.adaptive import Adaptive, Objective, adaptive, strongest_votes, unit
from attacks.sign_flip import sign_flip
from bench.attacking.forging import Rule
from bench.protocol import Alphabet
from bench.threat import ByzantineView
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.trimmed_mean import trimmed_mean

F = 4
HONEST = 0.3 + torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
OWN = 0.3 + torch.randn(F, 30, generator=torch.Generator().manual_seed(1))
RULES: dict[str, Rule] = {
    "mean": lambda rows: rows.mean(dim=0),
    "median": coordinate_median,
    "trimmed_mean": partial(trimmed_mean, num_byzantine=F),
    "krum": partial(krum, num_byzantine=F),
    "first_row": lambda rows: rows[0],
}


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def harm(rule: Rule, forged: Tensor, objective: Objective) -> float:
    """The definition: distance of the output from the honest mean, or its part against the mean's direction."""
    mean = HONEST.mean(dim=0)
    away = mean - rule(torch.cat([HONEST, forged]))
    return float(away.norm() if objective == "deviation" else away @ mean / mean.norm())


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize("objective", ["descent", "deviation"])
def test_at_least_the_damage_of_a_sign_flip_and_more_with_a_larger_budget(rule: Rule, objective: Objective) -> None:
    found = [
        harm(rule, adaptive(HONEST, F, rule, seeded(), budget, objective, own=OWN), objective) for budget in (1, 21, 60)
    ]
    assert found[0] == pytest.approx(harm(rule, sign_flip(OWN), objective))
    assert found == sorted(found)


@pytest.mark.parametrize("rule", [RULES["median"], RULES["krum"]], ids=["median", "krum"])
def test_a_rule_that_stands_the_sign_flip_does_not_stand_the_search(rule: Rule) -> None:
    forged = adaptive(HONEST, F, rule, seeded(), own=OWN)
    assert harm(rule, forged, "descent") > harm(rule, sign_flip(OWN), "descent") + 0.2


@given(st.integers(1, 40))
def test_the_budget_is_kept_exactly(evaluations: int) -> None:
    calls = []

    def counted(rows: Tensor) -> Tensor:
        calls.append(rows)
        return rows.mean(dim=0)

    forged = adaptive(HONEST, F, counted, seeded(), evaluations)
    assert len(calls) == evaluations
    assert forged.shape == (F, 30)
    assert bool(torch.isfinite(forged).all())
    assert any(torch.equal(rows[len(HONEST) :], forged) for rows in calls)


def test_the_draws_come_from_the_generator_alone() -> None:
    first, second, other = (adaptive(HONEST, F, RULES["krum"], seeded(seed)) for seed in (3, 3, 4))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@given(st.integers(0, 999))
def test_no_votes_move_a_sum_of_signs_further(seed: int) -> None:
    """Against random votes, in the projection on the honest sum and in the l1 norm of what becomes of it."""
    generator = seeded(seed)
    votes = torch.randint(-1, 2, (5, 12), generator=generator)
    total = votes.sum(dim=0)
    strongest = total + strongest_votes(votes, 3).sum(dim=0)
    other = total + torch.randint(-1, 2, (3, 12), generator=generator).sum(dim=0)
    assert int(strongest @ total) <= int(other @ total)
    assert bool(((strongest - total).abs() == 3).all())


def test_in_a_ternary_alphabet_every_vote_is_against_the_sum(omniscient_view: Callable[..., ByzantineView]) -> None:
    votes = torch.tensor([[1.0, -1.0, 1.0], [1.0, -1.0, -1.0]])
    forged = Adaptive().forge(omniscient_view(votes, torch.zeros(2, 3, dtype=torch.int8), Alphabet.TERNARY))
    assert forged.tolist() == [[-1, 1, 1]] * 2
    assert forged.dtype == torch.int8


def test_the_class_is_the_function(omniscient_view: Callable[..., ByzantineView]) -> None:
    view = omniscient_view(HONEST, OWN, aggregate=RULES["median"])
    expected = adaptive(HONEST, F, RULES["median"], seeded(), 40, own=OWN)
    assert torch.equal(Adaptive(evaluations=40).forge(view), expected)


def test_honest_zeros_are_no_direction_and_no_error() -> None:
    assert torch.equal(unit(torch.zeros(3)), torch.zeros(3))
    assert adaptive(torch.zeros(5, 3), 2, coordinate_median, seeded(), 30).shape == (2, 3)
    with pytest.raises(ValueError, match="evaluations is 0"):
        adaptive(HONEST, F, RULES["mean"], seeded(), 0)
