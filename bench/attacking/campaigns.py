"""Attackers who choose among attacks: within a round by looking one step ahead, from round to round by what has worked.

All of them hold an arsenal, attacks by name, each with a memory and draws of its own.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from bench.attacking.forging import deployed, mean_row
from bench.base import rng
from bench.protocol import Alphabet
from bench.threat import ByzantineAttack, ByzantineView

Arsenal = Mapping[str, ByzantineAttack]

STRETCHES = (0.5, 2.0, 4.0, 16.0)
"""How far the best forged message of a round is tried beyond, or before, its distance from the honest mean."""

DISCOUNT, CURIOSITY = 0.95, 0.5
"""Of discounted UCB (Garivier and Moulines 2011): what a round keeps of older rewards, the weight of the unknown."""


def forged_by(attack: ByzantineAttack, name: str, view: ByzantineView) -> Tensor:
    """What this attack of an arsenal makes of a view, `(f, d)`: its memory and draws are nobody else's."""
    prefix = f"{name}/"
    own = {key.removeprefix(prefix): value for key, value in view.memory.items() if key.startswith(prefix)}
    forged = attack.forge(replace(view, memory=own, generator=rng.fork(view.generator, name, _round(view))))
    view.memory.update({prefix + key: value for key, value in own.items()})
    return forged


def _round(view: ByzantineView) -> int:
    return int(view.memory.get("round", torch.tensor(0)))


def _next_round(view: ByzantineView) -> None:
    view.memory["round"] = torch.tensor(_round(view) + 1)


def harm_of(view: ByzantineView) -> Callable[[Tensor], float]:
    """Of forged messages `(f, d)`: the loss of the model that the server would make of them and the honest ones.

    Where the attackers hold no images: how far that model lies against the mean of the honest messages.
    """
    assert view.honest is not None
    rule, honest, damage = deployed(view), view.honest, view.damage
    mean = mean_row(honest.to(view.broadcast.dtype))
    towards = -mean if view.alphabet is Alphabet.TERNARY else mean  # votes point as gradients do

    def harm(forged: Tensor) -> float:
        change = rule(torch.cat([honest, forged.to(honest.dtype)]))
        result = -float(change @ towards) if damage is None else damage(view.broadcast + change)
        return result if math.isfinite(result) else math.inf

    return harm


class Armed(ByzantineAttack):
    """Holds an arsenal, and images by which it measures what it does."""

    measures_damage = True

    arsenal: dict[str, ByzantineAttack]

    def needs_updates(self) -> bool:
        return any(attack.needs_updates() for attack in self.arsenal.values())


class Lookahead(Armed):
    """Every round sends what harms the next model most: of all that the arsenal makes, stretched and shrunk."""

    omniscient = True

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        harm = harm_of(view)
        made = {name: forged_by(attack, name, view) for name, attack in self.arsenal.items()}
        _next_round(view)
        harms = {name: harm(forged) for name, forged in made.items()}
        best = max(harms, key=harms.__getitem__)
        if view.alphabet is Alphabet.TERNARY:
            return made[best]
        mean, forged = mean_row(view.honest), made[best].to(view.honest.dtype)
        stretched = {factor: torch.lerp(mean, forged, factor) for factor in STRETCHES}
        tried = {factor: harm(rows) for factor, rows in stretched.items()} | {1.0: harms[best]}
        factor = max(tried, key=lambda one: (tried[one], one == 1.0))
        return forged if factor == 1.0 else stretched[factor]


class Controller(Armed):
    """Learns from round to round which attack the rule lets through: a bandit over the arsenal.

    The reward of an attack is how much the loss on the attackers' images rose in the round after it; the largest of the
    discounted upper confidence bounds is played (Garivier and Moulines 2011, D-UCB).
    """

    def forge(self, view: ByzantineView) -> Tensor:
        memory, arms = view.memory, len(self.arsenal)
        if "plays" not in memory:
            memory |= {"plays": torch.zeros(arms, dtype=torch.float64), "gains": torch.zeros(arms, dtype=torch.float64)}
            memory["largest"] = torch.tensor(0.0, dtype=torch.float64)
        loss = 0.0 if view.damage is None else view.damage(view.broadcast)
        if "arm" in memory:
            self._learn(memory, loss - float(memory["loss"]))
        arm = self._chosen(memory)
        memory |= {"arm": torch.tensor(arm), "loss": torch.tensor(loss, dtype=torch.float64)}
        name = list(self.arsenal)[arm]
        forged = forged_by(self.arsenal[name], name, view)
        _next_round(view)
        return forged

    def _learn(self, memory: dict[str, Tensor], gain: float) -> None:
        """The round's gain goes to the attack that was played, all older ones fade."""
        gain = gain if math.isfinite(gain) else 0.0
        memory["largest"] = memory["largest"].clamp(min=abs(gain))
        arm = int(memory["arm"])
        memory["plays"] = DISCOUNT * memory["plays"]
        memory["gains"] = DISCOUNT * memory["gains"]
        memory["plays"][arm] += 1
        memory["gains"][arm] += gain

    def _chosen(self, memory: dict[str, Tensor]) -> int:
        """The attack with the largest bound; each is tried once first."""
        plays = memory["plays"].tolist()
        if 0.0 in plays:
            return plays.index(0.0)
        total, scale = math.log(sum(plays) + 1), float(memory["largest"]) or 1.0
        gains = memory["gains"].tolist()
        bounds = [
            gain / count / scale + CURIOSITY * math.sqrt(total / count)
            for gain, count in zip(gains, plays, strict=True)
        ]
        return max(range(len(bounds)), key=bounds.__getitem__)


class AllKnowing(Controller):
    """The same for an arsenal that sees the honest messages."""

    omniscient = True


class OpposingVotes(ByzantineAttack):
    """In a ternary alphabet: votes against all that honest clients have voted so far, and would without their noise.

    A round's noise is drawn anew and averages out over the run; opposing it round by round wastes the vote (the honest
    sum, then, is mostly noise). Messages of reals are opposed in the same way: minus the mean of all so far.
    """

    omniscient = True

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        votes = torch.cat([view.honest.to(view.broadcast.dtype), view.own.to(view.broadcast.dtype)]).mean(dim=0)
        so_far = view.memory.get("votes", torch.zeros_like(votes)) + votes
        view.memory.update(votes=so_far, count=view.memory.get("count", torch.tensor(0)) + 1)
        if view.alphabet is Alphabet.TERNARY:
            return torch.where(so_far > 0, -1, 1).to(torch.int8).expand(len(view.own), -1)
        return (-so_far / float(view.memory["count"])).expand(len(view.own), -1)


class Guess(ByzantineAttack):
    """An omniscient attack by oblivious clients: for the honest messages they take what they would have sent.

    So do the attackers of Baruch et al. 2019 and of Shejwalkar and Houmansadr 2021 who know no others' updates.
    """

    attack: ByzantineAttack

    def forge(self, view: ByzantineView) -> Tensor:
        own = view.own.to(view.broadcast.dtype)
        seen = own if len(own) > 2 else own.repeat(3, 1)  # a spread, and z, of fewer than three clients are none
        return self.attack.forge(replace(view, honest=seen, names=torch.arange(len(seen))))
