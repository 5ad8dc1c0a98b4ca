"""Gaussian noise: Byzantine clients send N(0, s^2) noise instead of an update (DPBFL paper, section 5.2)."""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import check_honest, fit
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def gaussian(honest: Tensor, num_byzantine: int, s: float, generator: torch.Generator) -> Tensor:
    """`num_byzantine` rows `(f, d)` of N(0, s^2) noise, of the width and type of the messages `honest (h, d)`."""
    check_honest(honest, num_byzantine, at_least=0)
    require(0 < s < float("inf"), "s", s, "positive and finite")
    return s * torch.randn(num_byzantine, honest.shape[1], generator=generator, dtype=honest.dtype)


@register("attack", "gaussian")
class Gaussian(ByzantineAttack):
    """Oblivious; in a ternary alphabet the sign of such a draw, a fair coin (errata D15)."""

    apart = True

    s: float = Field(default=1.0, gt=0)

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        own = view.own if view.alphabet is Alphabet.REAL else view.own.float()
        noise = gaussian(own, len(own), self.s, view.generator)
        return fit(noise, view.alphabet)
