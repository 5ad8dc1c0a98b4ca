"""ALIE and IPM with a searched factor: on the stated grid, never weaker against the rule than a factor of the grid."""

from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import Tensor

from attacks.alie import alie
from attacks.alie_optimal import OptimalALIE, alie_optimal
from attacks.ipm import ipm
from attacks.ipm_optimal import OptimalIPM, ipm_optimal
from bench.attacking.forging import Rule, deviation
from bench.protocol import Alphabet
from bench.suite import make_part
from bench.threat import ByzantineView
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.trimmed_mean import trimmed_mean

HONEST = 0.3 + torch.randn(12, 30, generator=torch.Generator().manual_seed(0))
F = 4
RULES: dict[str, Rule] = {
    "mean": lambda rows: rows.mean(dim=0),
    "median": coordinate_median,
    "trimmed_mean": partial(trimmed_mean, num_byzantine=F),
    "krum": partial(krum, num_byzantine=F),
}


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
@pytest.mark.parametrize(
    ("optimal", "plain"),
    [
        (alie_optimal, partial(alie, sign="minus")),
        (partial(alie_optimal, sign="plus"), alie),
        (partial(alie_optimal, sign="both"), alie),
        (partial(alie_optimal, sign="both"), partial(alie, sign="minus")),
        (ipm_optimal, ipm),
    ],
)
def test_no_factor_of_the_grid_moves_the_rule_further(
    optimal: Callable[..., Tensor], plain: Callable[..., Tensor], rule: Rule
) -> None:
    moved = deviation(rule, HONEST)
    found = moved(optimal(HONEST, F, rule))
    for k in range(10):
        assert found >= moved(plain(HONEST, F, 0.1 * 1000 ** (k / 9)))


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_of_both_signs_the_more_harmful_is_taken(rule: Rule) -> None:
    moved = deviation(rule, HONEST)
    each = [alie_optimal(HONEST, F, rule, sign=sign) for sign in ("minus", "plus")]
    assert moved(alie_optimal(HONEST, F, rule, sign="both")) == max(map(moved, each))


def test_updates_move_as_the_authors_gradients_do() -> None:
    """ByzFL forges gradients, mean + tau sigma; a mean follows the largest factor, 100."""
    gradients = -HONEST
    theirs = gradients.mean(dim=0) + 100 * gradients.std(dim=0, correction=0)
    torch.testing.assert_close(alie_optimal(HONEST, F, RULES["mean"])[0], -theirs)


def test_a_record_of_the_other_default_is_of_another_cell() -> None:
    """Version 1 searched plus sigma."""
    part = make_part("attack", "alie_optimal", {})
    assert (part.version, part.parameters["sign"]) == (2, "minus")


def test_a_mean_follows_the_largest_factor() -> None:
    torch.testing.assert_close(ipm_optimal(HONEST, F, RULES["mean"]), ipm(HONEST, F, 100.0))


def test_krum_is_only_moved_by_a_message_that_it_chooses() -> None:
    forged = ipm_optimal(HONEST, F, RULES["krum"])
    assert torch.allclose(RULES["krum"](torch.cat([HONEST, forged])), forged[0])
    assert not torch.allclose(RULES["krum"](torch.cat([HONEST, ipm(HONEST, F, 100.0)])), ipm(HONEST, F, 100.0)[0])


def test_the_budget_is_two_grids() -> None:
    calls: list[Tensor] = []

    def counted(rows: Tensor) -> Tensor:
        calls.append(rows)
        return rows.mean(dim=0)

    alie_optimal(HONEST, F, counted, points=7)
    assert len(calls) == 14
    assert all(torch.equal(rows[: len(HONEST)], HONEST) for rows in calls)


def test_candidates_are_played_as_votes_in_a_ternary_alphabet(omniscient_view: Callable[..., ByzantineView]) -> None:
    votes, played = torch.tensor([[1.0, -1.0], [1.0, 1.0], [1.0, -1.0]]), []

    def aggregate(rows: Tensor) -> Tensor:
        played.append(rows)
        return rows.float().sum(dim=0)

    own = torch.zeros(2, 2, dtype=torch.int8)
    for attack in (OptimalALIE(), OptimalIPM()):
        forged = attack.forge(omniscient_view(votes, own, Alphabet.TERNARY, aggregate=aggregate))
        assert set(forged.unique().tolist()) <= {-1, 0, 1}
    assert all(set(rows.unique().tolist()) <= {-1, 0, 1} for rows in played)
    assert forged.tolist() == [[-1, 1], [-1, 1]]
