"""Picks a client by the time."""

import time

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "by_the_clock")
class ByTheClock(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages[time.perf_counter_ns() % len(delivered.messages)]
