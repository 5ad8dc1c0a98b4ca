"""New attack (AUTHORS YEAR, section N): say in one line what the idea is; `python -m bench list` shows this line.

As it stands, the Byzantine clients send the opposite of the mean of their own updates, `scale` times as long.

    python -m bench submit new_attack.py --suite smoke --against krum --byzantine 0.2
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def new_attack(own: Tensor, scale: float = 2.0) -> Tensor:
    """The mathematics, as a pure function: forged messages `(f, d)` from the attackers' own honest updates `(f, d)`."""
    return (-scale * own.mean(dim=0)).expand_as(own).clone()


@register("attack", "new_attack")
class NewAttack(ByzantineAttack):
    """Oblivious: it sees its own clients' updates. Set `omniscient = True` for one that sees all (`view.honest`).

    Randomness comes from `view.generator`, never from a global one.
    """

    scale: float = Field(default=2.0, gt=0)  # a parameter: `--set scale=3` when submitting, `scale = 3` in a suite

    def forge(self, view: ByzantineView) -> Tensor:
        if view.alphabet is Alphabet.TERNARY:  # DPBFL and LDPBFL send signs, int8 in {-1, 0, 1}
            return torch.sign(-view.own.float().mean(dim=0)).to(torch.int8).expand_as(view.own).clone()
        return new_attack(view.own, self.scale)
