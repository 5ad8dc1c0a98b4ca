"""Waits two seconds in every round."""

import time

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "too_slow")
class TooSlow(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        time.sleep(2.1)
        return server.global_model + delivered.messages.mean(dim=0)
