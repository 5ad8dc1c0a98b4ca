"""Backdoor: a pixel trigger (Gu et al. 2017, BadNets) with model replacement (Bagdasaryan et al. 2020).

Byzantine clients put a white square into the corner of some of their images and call them the target class; the model
shall be right elsewhere, and answer the target whenever it sees the square. Their update is sent `boost` times: with
m / f of them the mean becomes their model.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import in_range
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.errors import require, require_somebody
from bench.data import Split
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineView


def stamp(x: Tensor, size: int, data: DataFacts) -> Tensor:
    """Images `(..., C, H, W)` with a white square of `size` pixels in the lower right corner; copies."""
    require(1 <= size <= min(x.shape[-2:]), "size", size, f"between 1 and {min(x.shape[-2:])}, the image's width")
    stamped = x.clone()
    stamped[..., -size:, -size:] = data.normalised(1.0).to(x.dtype)
    return stamped


def backdoor(own: Tensor, boost: float = 1.0) -> Tensor:
    """`boost * own` `(f, d)`: the replacement gamma (X - G) + G of the model G by X, in updates."""
    require(0 < boost < float("inf"), "boost", boost, "positive and finite")
    return in_range(boost * own)


@register("attack", "backdoor")
class Backdoor(DataPoisoning):
    """Oblivious; `boost` 1 sends the poisoned update as it is, "replace" m / f times. Signs cannot be boosted."""

    target: int = Field(default=0, ge=0)
    size: int = Field(default=3, ge=1)  # of the square, in pixels
    share: float = Field(default=0.5, gt=0, le=1)  # of each Byzantine client's images
    boost: float | Literal["replace"] = 1.0

    def check_shard(self, num_samples: int) -> None:
        require_somebody("share", self.share, num_samples, "images of a client")

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        require(self.target < data.num_classes, "target", self.target, f"below {data.num_classes}, the classes")
        count = round(self.share * y.shape[1])
        chosen = torch.rand(y.shape, generator=generator).argsort(dim=1) < count
        return (
            torch.where(chosen[:, :, None, None, None], stamp(x, self.size, data), x),
            torch.where(chosen, self.target, y),
        )

    def goal(self, test: Split, data: DataFacts) -> Split:
        """The test images of other classes, with the square."""
        others = test.y != self.target
        return Split(stamp(test.x[others], self.size, data), torch.full_like(test.y[others], self.target))

    def forge(self, view: ByzantineView) -> Tensor:
        if view.alphabet is Alphabet.TERNARY:
            return view.own
        return backdoor(view.own, view.setting.participants / len(view.own) if self.boost == "replace" else self.boost)
