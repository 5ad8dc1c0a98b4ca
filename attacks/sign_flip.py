"""Sign flip: the honest update, scaled by -c (DPBFL paper, section 5; c is not given there: errata D22)."""

from typing import Literal

from pydantic import Field
from torch import Tensor

from bench.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def sign_flip(own: Tensor, c: float = 2.0) -> Tensor:
    """`-c * own` `(f, d)`."""
    require(0 < c < float("inf"), "c", c, "positive and finite")
    return -c * own


@register("attack", "sign_flip")
class SignFlip(ByzantineAttack):
    """Oblivious; `on="model"` flips the model w_i; of signs always -x, not randomised, at any `on` (D12, D14)."""

    c: float = Field(default=2.0, gt=0)
    on: Literal["update", "model"] = "update"

    def forge(self, view: ByzantineView) -> Tensor:
        if view.alphabet is Alphabet.TERNARY:
            return -view.own
        if self.on == "update":
            return sign_flip(view.own, self.c)
        return sign_flip(view.broadcast + view.own, self.c) - view.broadcast
