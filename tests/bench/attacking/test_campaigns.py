"""Attackers who choose: each attack keeps its own memory, the look ahead takes the worst, the bandit learns."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.ipm import IPM
from attacks.mimic import Mimic
from bench.attacking.campaigns import AllKnowing, Guess, Lookahead, OpposingVotes, forged_by
from bench.protocol import Alphabet, Setting
from bench.threat import ByzantineAttack, ByzantineView

H, F, D = 6, 2, 5


def view(memory: dict[str, Tensor] | None = None, **known: Any) -> ByzantineView:
    """Six honest clients and two Byzantine ones; the rule is the mean."""
    honest = 1 + torch.randn(H, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    own, broadcast = torch.ones(F, D, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
    setting, memory = Setting(H + F, H + F, D, 10, 0.1, None, 0.25, 1e-6), {} if memory is None else memory
    seen = {"names": torch.arange(H), "aggregate": lambda rows: rows.double().mean(dim=0)}
    random = torch.Generator().manual_seed(1)
    return replace(ByzantineView(own, honest, broadcast, Alphabet.REAL, random, setting, memory), **{**seen, **known})


class Constant(ByzantineAttack):
    """Sends one number."""

    value: float

    def forge(self, view: ByzantineView) -> Tensor:
        return torch.full_like(view.own, self.value)


def test_each_attack_of_an_arsenal_keeps_a_memory_of_its_own() -> None:
    memory: dict[str, Tensor] = {}
    for _ in range(3):
        forged_by(Mimic(), "one", view(memory))
        forged_by(Mimic(), "other", view(memory))
    assert {key.split("/")[0] for key in memory} == {"one", "other"}
    assert int(memory["one/rounds"]) == int(memory["other/rounds"]) == 3


def test_an_attack_draws_the_same_whatever_stands_beside_it() -> None:
    alone = Lookahead(arsenal={"mimic": Mimic()})
    beside = Lookahead(arsenal={"flat": Constant(value=1.0), "mimic": Mimic()})
    worst = {"damage": lambda model: -float((model - 1.0).norm())}  # of 1.0 exactly; mimic's is what differs least
    first, second = (dict[str, Tensor](), dict[str, Tensor]())
    alone.forge(view(first, **worst))
    beside.forge(view(second, **worst))
    assert torch.equal(first["mimic/direction"], second["mimic/direction"])


def test_the_look_ahead_takes_what_harms_the_next_model_most() -> None:
    arsenal = {"small": Constant(value=-1.0), "large": Constant(value=-3.0), "along": Constant(value=2.0)}
    forged = Lookahead(arsenal=arsenal).forge(view(damage=lambda model: -float(model.sum())))
    mean = float(view().honest.mean())  # type: ignore[union-attr]
    assert float(forged.mean()) == pytest.approx(mean + 16 * (-3 - mean), rel=0.2), "a mean follows the longest stretch"
    near = Lookahead(arsenal=arsenal).forge(
        view(damage=lambda model: -abs(float(model.mean()) - 0.25 * -3 - 0.75 * mean))
    )
    torch.testing.assert_close(near, torch.full_like(near, -3.0))


def test_without_images_of_its_own_it_goes_against_the_honest_mean() -> None:
    forged = Lookahead(arsenal={"with": Constant(value=9.0), "against": IPM()}).forge(view())
    assert float(forged.sum()) < 0


@pytest.mark.parametrize("best", ["one", "two", "three"])
def test_the_bandit_finds_the_attack_that_the_rule_lets_through(best: str) -> None:
    """Only the best attack's rounds raise the loss; from the fortieth round on it is played in most of them."""
    arsenal: dict[str, ByzantineAttack] = {
        name: Constant(value=float(k)) for k, name in enumerate(("one", "two", "three"))
    }
    wanted, loss, memory, played = float(list(arsenal).index(best)), 0.0, dict[str, Tensor](), []
    for _ in range(100):
        forged = AllKnowing(arsenal=arsenal).forge(view(memory, damage=lambda model, loss=loss: loss))
        played.append(float(forged[0, 0]))
        loss += 1.0 if played[-1] == wanted else -0.2
    assert played[40:].count(wanted) > 40


def test_votes_are_against_all_votes_so_far_not_against_this_rounds_noise() -> None:
    memory: dict[str, Tensor] = {}
    steady = torch.ones(H, D, dtype=torch.float64)
    for _ in range(3):
        OpposingVotes().forge(view(memory, honest=steady, alphabet=Alphabet.TERNARY))
    noisy = OpposingVotes().forge(view(memory, honest=-steady, alphabet=Alphabet.TERNARY))
    assert noisy.dtype == torch.int8
    assert bool((noisy == -1).all())


def test_who_is_oblivious_takes_its_own_updates_for_the_honest_ones() -> None:
    blind = view(honest=None, names=None, aggregate=None)
    torch.testing.assert_close(Guess(attack=IPM()).forge(blind), -0.5 * torch.ones(F, D, dtype=torch.float64))
