"""Goes against the messages, and so learns nothing."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "does_not_learn")
class DoesNotLearn(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model - delivered.messages.mean(dim=0)
