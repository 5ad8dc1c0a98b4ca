"""Clips the messages in the tensor that it was given."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "in_place")
class InPlace(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        delivered.messages.clamp_(-1, 1)
        return server.global_model + delivered.messages.mean(dim=0)
