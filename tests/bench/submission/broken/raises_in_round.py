"""Raises in its only step."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "raises_in_round")
class RaisesInRound(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        raise RuntimeError("not written yet")
