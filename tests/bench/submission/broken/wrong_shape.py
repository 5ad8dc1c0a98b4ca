"""The mean of each client's message: (n,), where the model has (d,)."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "wrong_shape")
class WrongShape(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return delivered.messages.mean(dim=1)
