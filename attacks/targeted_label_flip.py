"""Targeted label flip (Tolpegin et al. 2020): Byzantine clients call one class by the name of another.

No trigger: what they want is that test images of the source class are taken for the target. Everything else they train
on as it is.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.errors import require
from bench.data import Split
from bench.registry import register


def targeted_label_flip(y: Tensor, source: int, target: int) -> Tensor:
    """Labels of any shape, with the target in place of the source class."""
    return torch.where(y == source, target, y)


@register("attack", "targeted_label_flip")
class TargetedLabelFlip(DataPoisoning):
    """Oblivious; success is the share of the source's test images that are answered with the target."""

    source: int = Field(default=7, ge=0)
    target: int = Field(default=1, ge=0)

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        for argument, label in (("source", self.source), ("target", self.target)):
            require(label < data.num_classes, argument, label, f"below {data.num_classes}, the classes")
        return x, targeted_label_flip(y, self.source, self.target)

    def goal(self, test: Split, data: DataFacts) -> Split:
        """The test images of the source class, as they are."""
        mine = test.y == self.source
        return Split(test.x[mine], torch.full_like(test.y[mine], self.target))
