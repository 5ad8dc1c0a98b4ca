"""Neurotoxin (Zhang, Panda et al. 2022): a backdoor in the coordinates that honest clients hardly move.

What others do not touch stays after the attackers have left. Of the model's last change that the attackers have seen,
the coordinates with the `ratio` smallest magnitudes are theirs; in each local step the gradient is set to 0 elsewhere
(algorithm 1 of the paper, a projection). The authors' code keeps the smallest 95 %, over all layers together, and takes
the magnitudes from a gradient on clean images of the attackers; the paper, and this file, from the global model's
change. The paper's text was not at hand. In their first round the attackers have seen no change and send all.
"""

import torch
from pydantic import Field
from torch import Tensor

from attacks.backdoor import Backdoor
from bench.attacking.local import LocalChange, as_sent, trained
from bench.attacking.triggers import boost_of, boosted
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineView


def quiet(change: Tensor, ratio: float = 0.95) -> Tensor:
    """Of a change `(d,)`, the floor(ratio d) coordinates with the smallest magnitudes `(d,)` bool.

    Of equal magnitudes the first count as smaller. All of them where nothing changed.
    """
    require(change.dim() == 1 and len(change) > 0, "change", tuple(change.shape), "a (d,) tensor")
    require(0 < ratio <= 1, "ratio", ratio, "above 0 and at most 1")
    kept = torch.ones_like(change, dtype=torch.bool)
    if bool(change.any()):
        order = change.abs().argsort(stable=True)
        kept[order[int(ratio * len(change)) :]] = False
    return kept


def neurotoxin(own: Tensor, change: Tensor, ratio: float = 0.95) -> Tensor:
    """The updates `(f, d)` in the quiet coordinates of `change (d,)`, 0 elsewhere."""
    return own * quiet(change, ratio)


class Masked(LocalChange):
    """Each step moves these coordinates `(d,)` bool alone."""

    def __init__(self, mask: Tensor) -> None:
        self.mask = mask

    def direction(self, gradients: Tensor, models: Tensor) -> Tensor:
        return gradients * self.mask


@register("attack", "neurotoxin")
class Neurotoxin(Backdoor):
    """Oblivious; the trigger is that of `backdoor`. Where votes are sent, those for the masked update."""

    trains = True

    ratio: float = Field(default=0.95, gt=0, le=1)  # of the coordinates, those that are moved

    def forge(self, view: ByzantineView) -> Tensor:
        before = view.memory.get("broadcast", view.broadcast)
        change = view.broadcast - before
        view.memory["broadcast"] = view.broadcast.clone()
        if view.training is None:
            return self._sent(neurotoxin(view.own, change, self.ratio), view)
        updates = trained(view.training, view.broadcast, Masked(quiet(change, self.ratio)))
        return self._sent(as_sent(updates, view), view)

    def _sent(self, messages: Tensor, view: ByzantineView) -> Tensor:
        return messages if view.alphabet is Alphabet.TERNARY else boosted(messages, boost_of(self.boost, view))
