"""What backdoors share: a share of each attacker's images carries a trigger and the target's label."""

from abc import abstractmethod
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import in_range
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.errors import require, require_somebody
from bench.data import Split
from bench.protocol import Alphabet
from bench.threat import ByzantineView

Boost = float | Literal["replace"]
"""How often an update is sent; "replace" is m / f, with which the mean of m messages becomes that of the f."""


def boosted(own: Tensor, boost: float = 1.0) -> Tensor:
    """`boost * own` `(f, d)`: the replacement gamma (X - G) + G of the model G by X, in updates."""
    require(0 < boost < float("inf"), "boost", boost, "positive and finite")
    return in_range(boost * own)


def boost_of(boost: Boost, view: ByzantineView) -> float:
    """The number behind "replace": m / f, for the m clients of the round and the f attackers among them."""
    return view.setting.participants / len(view.own) if boost == "replace" else boost


def chosen(y: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which images of each shard are changed `(f, s)` bool, of labels `(f, s)`: round(share s) in each, drawn."""
    return torch.rand(y.shape, generator=generator).argsort(dim=1) < round(share * y.shape[1])


class Triggered(DataPoisoning):
    """Byzantine clients that call images with a trigger the target; oblivious. Signs cannot be boosted."""

    target: int = Field(default=0, ge=0)
    share: float = Field(default=0.5, gt=0, le=1)  # of each Byzantine client's images
    boost: Boost = 1.0

    @abstractmethod
    def stamped(self, x: Tensor, data: DataFacts) -> Tensor:
        """Images `(..., C, H, W)`, normalised, with the whole trigger; copies."""

    def trained_on(self, x: Tensor, data: DataFacts) -> Tensor:
        """The attackers' images `(f, s, C, H, W)` as they train on them; by default with the whole trigger."""
        return self.stamped(x, data)

    def check_shard(self, num_samples: int) -> None:
        require_somebody("share", self.share, num_samples, "images of a client")

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        require(self.target < data.num_classes, "target", self.target, f"below {data.num_classes}, the classes")
        changed = chosen(y, self.share, generator)
        return (
            torch.where(changed[:, :, None, None, None], self.trained_on(x, data), x),
            torch.where(changed, self.target, y),
        )

    def goal(self, test: Split, data: DataFacts) -> Split:
        """The test images of other classes, with the whole trigger."""
        others = test.y != self.target
        return Split(self.stamped(test.x[others], data), torch.full_like(test.y[others], self.target))

    def forge(self, view: ByzantineView) -> Tensor:
        if view.alphabet is Alphabet.TERNARY:
            return view.own
        return boosted(view.own, boost_of(self.boost, view))
