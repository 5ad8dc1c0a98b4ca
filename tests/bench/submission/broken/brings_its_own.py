"""A server that ignores its clients and takes a step of its own."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "brings_its_own")
class BringsItsOwn(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model * 0.9
