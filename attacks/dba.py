"""DBA (Xie, Huang, Chen and Li 2020): a trigger in four parts, of which each attacker trains on one.

The parts are four bars, two beside two, as the authors' code has them for MNIST: one pixel high, `width` long, `gap`
apart, in the upper left corner. Attacker i paints part i mod 4 into a share of its images and calls them the target. No
client ever sees the whole trigger; success is measured with it. The authors' attackers come in turn with one update
each, sent a hundred times ("single shot"), or in every round with it sent once ("multiple shots"): that is `boost`.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.poisoning import DataFacts
from bench.attacking.triggers import Triggered
from bench.base.errors import require
from bench.registry import register

PARTS, BAR = 4, 4
"""Parts of the trigger, and pixels of each."""


def parts(shape: torch.Size, bar: int | None = None, gap: int = 2) -> Tensor:
    """Where each part lies in an image of shape (H, W): `(4, H, W)` bool, row by row from the upper left corner.

    A bar has `BAR` pixels by default, or as many as fit. Raises `ValueError` where bars do not fit, or touch.
    """
    height, width = shape
    most = (width - gap) // 2
    bar = min(BAR, most) if bar is None else bar
    require(1 <= bar <= most, "width", bar, f"between 1 and {most}, so that two bars and the gap fit")
    require(1 <= gap <= height - 2, "gap", gap, f"between 1 and {height - 2}, so that two bars and the gap fit")
    places = torch.zeros(PARTS, height, width, dtype=torch.bool)
    for part in range(PARTS):
        down, across = divmod(part, 2)
        places[part, down * (1 + gap), across * (bar + gap) :][:bar] = True
    return places


@register("attack", "dba")
class DBA(Triggered):
    """Oblivious; attackers beyond four share parts, fewer than four leave parts that nobody trains on."""

    target: int = Field(default=2, ge=0)  # the authors' for MNIST
    width: int | None = Field(default=None, ge=1)  # of a part, in pixels; 4, or as many as fit, where it is None
    gap: int = Field(default=2, ge=1)  # between parts

    def stamped(self, x: Tensor, data: DataFacts) -> Tensor:
        return self._painted(x, parts(x.shape[-2:], self.width, self.gap).any(dim=0), data)

    def trained_on(self, x: Tensor, data: DataFacts) -> Tensor:
        mine = parts(x.shape[-2:], self.width, self.gap)[torch.arange(len(x)) % PARTS]
        return self._painted(x, mine[:, None, None], data)

    def _painted(self, x: Tensor, places: Tensor, data: DataFacts) -> Tensor:
        return torch.where(places.to(x.device), data.normalised(1.0).to(x), x)
