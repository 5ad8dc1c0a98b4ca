"""Free rider (Lin et al. 2019, delta weights with noise): the last change of the global model, sent back as an update.

Who has no data, or will not train, sends what all others made of the round before, with Gaussian noise so that no two
of them send the same.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import check_number, fit
from bench.base.errors import require
from bench.protocol import REALS, Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def free_rider(change: Tensor, num_byzantine: int, s: float, generator: torch.Generator) -> Tensor:
    """`num_byzantine` rows `(f, d)`, each `change (d,)` of the global model plus its own N(0, s^2) noise."""
    require(num_byzantine >= 0, "num_byzantine", num_byzantine, "at least 0")
    require(0 <= s < float("inf"), "s", s, "at least 0 and finite")
    fits = change.dim() == 1 and change.dtype in REALS
    require(fits, "change", f"{change.dtype} of shape {tuple(change.shape)}", "float32 or float64, (d,)")
    check_number("s", s, change.dtype)
    noise = torch.randn(num_byzantine, len(change), generator=generator, dtype=change.dtype)
    return torch.add(change, noise, alpha=s)


@register("attack", "free_rider")
class FreeRider(ByzantineAttack):
    """Oblivious: it knows the broadcasts; the first time it has seen no change, and sends the noise alone."""

    s: float = Field(default=1e-3, ge=0)

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        change = view.broadcast - view.memory.get("broadcast", view.broadcast)
        view.memory["broadcast"] = view.broadcast
        forged = free_rider(change, len(view.own), self.s, view.generator)
        return fit(-forged if view.alphabet is Alphabet.TERNARY else forged, view.alphabet)  # a vote is sign(w_0 - w_i)
