"""Model replacement, constrain-and-scale, train-and-scale (Bagdasaryan et al. 2020, sections 4.2 and 4.3).

The attackers train a model X with a backdoor, longer and in smaller steps than honest clients, and send gamma (X - G),
so that averaging replaces the global model G by X: gamma is n / eta, here m / f for f attackers among the m messages of
a mean. `alpha` below 1 is constrain-and-scale: the loss is alpha L_class + (1 - alpha) L_ano, with the distance
|X - G| as the authors' code has it for L_ano. `bound` is train-and-scale: gamma is at most bound / |X - G|, for a bound
on norms that the attackers know. The authors' attackers train 15 epochs where others train 2, at half the learning rate
(`utils/params_runner.yaml` and `training.py` of their code; the paper's text was not at hand).
"""

from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor

from attacks.backdoor import Backdoor
from bench.attacking.local import LocalChange, as_sent, trained, within
from bench.attacking.triggers import Boost, boost_of, boosted
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineView


def model_replacement(own: Tensor, gamma: float, bound: float | None = None) -> Tensor:
    """`gamma * own` `(f, d)`, no row longer than `bound`: gamma (X - G) of the attackers' models X."""
    return within(boosted(own, gamma), bound)


class Constrained(LocalChange):
    """The gradient of alpha L_class + (1 - alpha) |X - G| at models X `(f, d)`, of the broadcast G `(d,)`."""

    def __init__(self, alpha: float, broadcast: Tensor) -> None:
        self.alpha, self.broadcast = alpha, broadcast

    def direction(self, gradients: Tensor, models: Tensor) -> Tensor:
        if self.alpha == 1:
            return gradients
        away = models - self.broadcast
        lengths = torch.linalg.vector_norm(away, dim=1, keepdim=True)
        unit = torch.where(lengths > 0, away / lengths, 0)
        return self.alpha * gradients + (1 - self.alpha) * unit


@register("attack", "model_replacement")
class ModelReplacement(Backdoor):
    """Oblivious; the trigger is that of `backdoor`. `boost` is gamma. Signs are the votes for X, and not scaled."""

    trains = True

    boost: Boost = "replace"
    alpha: float = Field(default=1.0, gt=0, le=1)  # of the loss, the share of the two tasks
    bound: float | None = Field(default=None, gt=0)  # S, the longest update that the attackers dare to send
    passes: int = Field(default=7, ge=1)  # how often they take the round's steps
    step: float = Field(default=0.5, gt=0)  # of a step, as a share of the honest learning rate

    def forge(self, view: ByzantineView) -> Tensor:
        sent = view.own
        if (own := view.training) is not None:
            slower = replace(own, lr=self.step * own.lr)
            sent = as_sent(trained(slower, view.broadcast, Constrained(self.alpha, view.broadcast), self.passes), view)
        if view.alphabet is Alphabet.TERNARY:
            return sent
        return model_replacement(sent, boost_of(self.boost, view), self.bound)
