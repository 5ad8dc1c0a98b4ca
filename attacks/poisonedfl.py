"""PoisonedFL (Xie, Fang and Gong 2025, arXiv 2404.15611): the same direction in every round, as large as passes.

Most attacks undo in one round what they did in the one before. Here a vector of random signs s is drawn once, and every
forged update is lambda v o s: it pushes the model the same way in all rounds, and needs no honest message. Broadcasts
alone tell how it fares. With g the last change of the model and u the last forged update,

    v = |g - |g| u / |u||, brought to length 1      larger where the honest clients resist
    lambda = c |g|

Every `period` rounds the attackers ask whether the model has moved along s: where no more coordinates have the signs of
s than chance gives (a binomial test at 1 %), too much was filtered, and c shrinks by `beta`, but not below 1 / 2.
Settings, and that floor, are those of the authors' code, whose attackers are dummy clients without data; its attack
begins in the second round, when there is a change to look at.
"""

import torch
from pydantic import Field
from scipy.special import bdtrik
from torch import Tensor

from bench.attacking.forging import copies, length_of
from bench.base.errors import require
from bench.protocol import Alphabet, check_detached
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView

SMALLEST, CHANCE = 0.5, 0.01
"""The least c, and the level of the test."""


def poisonedfl(signs: Tensor, change: Tensor, last: Tensor, c: float = 8.0) -> Tensor:
    """The forged update `(d,)`: c |change| v o signs, with v from the model's last change and the last forged update.

    All are `(d,)`; `last` is 0 where nothing has been sent yet. It is 0 where the model did not move.
    """
    for argument, tensor in (("signs", signs), ("change", change), ("last", last)):
        check_detached(tensor, argument)
    same = signs.shape == change.shape == last.shape and signs.dim() == 1
    shapes = (tuple(signs.shape), tuple(change.shape), tuple(last.shape))
    require(same, "signs, change, last", shapes, "three (d,) tensors")
    require(0 < c < float("inf"), "c", c, "positive and finite")
    moved, sent = length_of(change), length_of(last)
    v = (change - last * (moved / sent) if float(sent) > 0 else change).abs()
    length = length_of(v)
    return c * moved * (v / length) * signs if float(length) > 0 else torch.zeros_like(change)


def is_filtered(signs: Tensor, moved: Tensor) -> bool:
    """Whether `moved (d,)` agrees with `signs (d,)` in no more coordinates than 99 of 100 random vectors would."""
    same = signs.shape == moved.shape and signs.dim() == 1 and len(signs) > 0
    require(same, "signs, moved", (tuple(signs.shape), tuple(moved.shape)), "two (d,) tensors")
    agree = int((torch.sign(moved) == signs).sum())
    return agree < float(bdtrik(1 - CHANCE, signs.numel(), 0.5))


@register("attack", "poisonedfl")
class PoisonedFL(ByzantineAttack):
    """Oblivious; in a ternary alphabet the votes of such an update."""

    c: float = Field(default=8.0, gt=0)
    beta: float = Field(default=0.7, gt=0, lt=1)
    period: int = Field(default=50, ge=1)

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        memory, broadcast = view.memory, view.broadcast
        if not memory:
            random = torch.rand(broadcast.shape, generator=view.generator, dtype=broadcast.dtype)
            memory |= {"signs": torch.where(random < 0.5, -1.0, 1.0).to(broadcast), "first": broadcast.clone()}
            memory |= {"before": broadcast.clone(), "sent": torch.zeros_like(broadcast)}
            memory |= {"rounds": torch.tensor(0), "c": torch.tensor(self.c, dtype=torch.float64)}
        rounds = int(memory["rounds"])
        if rounds and rounds % self.period == 0:
            self._look_back(memory, broadcast)
        forged = poisonedfl(memory["signs"], broadcast - memory["before"], memory["sent"], float(memory["c"]))
        memory |= {"before": broadcast.clone(), "sent": forged, "rounds": torch.tensor(rounds + 1)}
        if view.alphabet is Alphabet.TERNARY:  # a vote is sign(w_0 - w_i), against the update that it wants
            return copies(-torch.sign(forged).to(torch.int8), len(view.own))
        return copies(forged.to(view.own.dtype), len(view.own))

    def _look_back(self, memory: dict[str, Tensor], broadcast: Tensor) -> None:
        """Whether the last period's rounds went along the signs; it is a fresh start from here."""
        smaller = float(memory["c"]) * self.beta
        if is_filtered(memory["signs"], broadcast - memory["first"]) and smaller >= SMALLEST:
            memory["c"] = torch.tensor(smaller, dtype=torch.float64)
        memory["first"] = broadcast.clone()
