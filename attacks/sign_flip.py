"""Sign flip: the honest update, scaled by -c (DPBFL paper, section 5; c is not given there: errata D22)."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import in_range
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def sign_flip(own: Tensor, c: float = 2.0) -> Tensor:
    """`-c * own` `(f, d)`."""
    require(0 < c < float("inf"), "c", c, "positive and finite")
    return in_range(-c * own)


@register("attack", "sign_flip")
class SignFlip(ByzantineAttack):
    """Oblivious; `on="model"` flips the model w_i. Votes are those of what was flipped, not randomised (D12, D14)."""

    apart = True

    c: float = Field(default=2.0, gt=0)
    on: Literal["update", "model"] = "update"

    def needs_updates(self) -> bool:
        return self.on == "model"

    def forge(self, view: ByzantineView) -> Tensor:
        ternary = view.alphabet is Alphabet.TERNARY
        if self.on == "update":
            return -view.own if ternary else sign_flip(view.own, self.c)
        assert view.updates is not None
        flipped = sign_flip(view.broadcast + view.updates, self.c)
        return torch.sign(view.broadcast - flipped).to(torch.int8) if ternary else flipped - view.broadcast
