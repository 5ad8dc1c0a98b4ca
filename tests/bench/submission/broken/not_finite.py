"""Divides by the length of the mean, which may be 0."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "not_finite")
class NotFinite(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        mean = delivered.messages.mean(dim=0)
        return server.global_model + mean / mean.norm()
