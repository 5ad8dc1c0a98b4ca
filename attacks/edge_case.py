"""Edge-case backdoor (Wang, Sreenivasan et al. 2020): images from the tail of the data, without any trigger.

Their attackers call images that hardly anybody holds by a wrong name: ARDIS sevens called one among EMNIST digits,
aeroplanes of one airline called truck. Those sets are not at hand. What stands for them is made of the data itself:

- `turned`: images of the `source` class, turned by a quarter. No client has the like; as in the paper they are natural
  strokes, and all look alike.
- `tail`: of the attackers' images of the source class, the tenth that lies furthest (Euclidean distance of pixels) from
  the class's mean. Honest clients hold such images too, under their true name: the paper's case of a shared edge.

Success is measured on the test images of the source class, made or chosen in the same way. `radius` is the paper's PGD:
after each local step the attackers' model is brought back onto a ball around the broadcast; `boost` is its scaling.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.local import LocalChange, as_sent, trained, within
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.attacking.triggers import Boost, boost_of, boosted, chosen
from bench.base.errors import require, require_somebody
from bench.data import Split
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineView

Edge = Literal["turned", "tail"]
TAIL = 10
"""One image of so many lies in the tail."""


def edge_of(x: Tensor, edge: Edge = "turned") -> Tensor:
    """What stands for edge cases of images `(k, C, H, W)` of one class: all turned, or the tail, at least one."""
    if edge == "turned":
        require(x.shape[-1] == x.shape[-2], "images", tuple(x.shape[-2:]), "as wide as they are high")
        return x.rot90(1, dims=(-2, -1))
    away = (x - x.mean(dim=0)).flatten(1).double().square().sum(dim=1)
    return x[away.argsort(descending=True, stable=True)[: -(-len(x) // TAIL)].sort().values]


class Projected(LocalChange):
    """After each step the models `(f, d)` lie within `radius` of the broadcast `(d,)`."""

    def __init__(self, broadcast: Tensor, radius: float) -> None:
        self.broadcast, self.radius = broadcast, radius

    def project(self, models: Tensor) -> Tensor:
        return self.broadcast + within(models - self.broadcast, self.radius)


@register("attack", "edge_case")
class EdgeCase(DataPoisoning):
    """Oblivious; `share` of each attacker's images gives way to edge cases, of those that all attackers hold."""

    trains = True

    edge: Edge = "turned"
    source: int = Field(default=7, ge=0)
    target: int = Field(default=1, ge=0)
    share: float = Field(default=0.5, gt=0, le=1)  # of each Byzantine client's images
    boost: Boost = 1.0
    radius: float | None = Field(default=None, gt=0)  # of the ball around the broadcast

    def check_shard(self, num_samples: int) -> None:
        require_somebody("share", self.share, num_samples, "images of a client")

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for argument, label in (("source", self.source), ("target", self.target)):
            require(label < data.num_classes, argument, label, f"below {data.num_classes}, the classes")
        mine = y == self.source
        require(bool(mine.any()), "source", self.source, "a class of which the attackers hold an image")
        pool, places = edge_of(x[mine], self.edge), chosen(y, self.share, generator)
        drawn = torch.randint(len(pool), (int(places.sum()),), generator=generator)
        changed = x.clone()
        changed[places] = pool[drawn]
        return changed, torch.where(places, self.target, y)

    def goal(self, test: Split, data: DataFacts) -> Split:
        shown = edge_of(test.x[test.y == self.source], self.edge)
        return Split(shown, torch.full_like(test.y[: len(shown)], self.target))

    def forge(self, view: ByzantineView) -> Tensor:
        sent = view.own
        if self.radius is not None and view.training is not None:
            sent = as_sent(trained(view.training, view.broadcast, Projected(view.broadcast, self.radius)), view)
        return sent if view.alphabet is Alphabet.TERNARY else boosted(sent, boost_of(self.boost, view))
