"""Data poisoning: Byzantine clients that follow the protocol on training data that they have changed."""

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.data import Dataset, Split
from bench.threat import ByzantineAttack, ByzantineView


@dataclass(frozen=True)
class DataFacts:
    """What every client knows of the data: the number of classes, and how images are normalised, `(C,)` each."""

    num_classes: int
    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, dataset: Dataset) -> "DataFacts":
        return cls(dataset.num_classes, dataset.mean, dataset.std)

    def normalised(self, pixel: float) -> Tensor:
        """A pixel in [0, 1], the same in every channel, in the scale of the images: `(C, 1, 1)`."""
        return ((pixel - self.mean) / self.std)[:, None, None]


class DataPoisoning(ByzantineAttack):
    """Byzantine clients that train as the others do, each on its own poisoned shard, and send what comes of it."""

    apart = True

    has_control: ClassVar[bool] = False
    """Whether of its goal those images count alone that the same training without it answers otherwise."""

    @abstractmethod
    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Their images `(f, s, C, H, W)`, normalised, and labels `(f, s)`, changed; not in place."""

    def check_shard(self, num_samples: int) -> None:
        """Raise `ValueError` where nothing would be changed in a shard of so many images."""

    def goal(self, test: Split, data: DataFacts) -> Split | None:
        """Images as the attackers would show them to the model, with the answers that they want; None without any."""
        return None

    def goal_now(self, test: Split, data: DataFacts, memory: Mapping[str, Tensor]) -> Split | None:
        """The same where it depends on what the attackers have kept in `memory`, such as a trigger that they search."""
        return self.goal(test, data)

    def forge(self, view: ByzantineView) -> Tensor:
        return view.own


def poison_shards(
    attack: DataPoisoning,
    x: Tensor,
    y: Tensor,
    indices: Tensor,
    byzantine: Tensor,
    data: DataFacts,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Training data and the clients' `indices (n, s)` with the shards of `byzantine (n,)` bool poisoned.

    Poisoned samples are appended, so that honest clients keep theirs bit for bit, also where shards share samples.
    """
    attack.check_shard(indices.shape[1])
    rows = indices[byzantine]
    changed_x, changed_y = attack.poison(x[rows], y[rows], data, generator)
    if changed_x.shape[:2] != rows.shape or changed_y.shape != rows.shape:
        got = (tuple(changed_x.shape), tuple(changed_y.shape))
        raise ValueError(f"{attack.name}.poison returned shapes {got}, not those of its arguments")
    moved = indices.clone()
    moved[byzantine] = len(y) + torch.arange(rows.numel()).view(rows.shape)
    return torch.cat([x, changed_x.flatten(0, 1)]), torch.cat([y, changed_y.flatten()]), moved
