"""Label flip: Byzantine clients train on labels turned round, y -> C - 1 - y (Fang et al. 2020)."""

import torch
from torch import Tensor

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.errors import require
from bench.protocol import WHOLE
from bench.registry import register


def label_flip(y: Tensor, num_classes: int) -> Tensor:
    """`C - 1 - y`, of any shape; raises `ValueError` unless the labels are in 0 .. C - 1."""
    require(y.dtype in WHOLE, "y", y.dtype, "whole numbers")
    known = bool(((y >= 0) & (y < num_classes)).all())
    require(known, "y", "other labels", f"in 0 .. {num_classes - 1}")
    return num_classes - 1 - y


@register("attack", "label_flip")
class LabelFlip(DataPoisoning):
    """Oblivious; what is sent is the honest message of the poisoned shard."""

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return x, label_flip(y, data.num_classes)
