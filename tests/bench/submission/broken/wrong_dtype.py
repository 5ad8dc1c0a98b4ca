"""Computes in float64 and forgets to come back."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "wrong_dtype")
class WrongDtype(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return (server.global_model + delivered.messages.mean(dim=0)).double()
