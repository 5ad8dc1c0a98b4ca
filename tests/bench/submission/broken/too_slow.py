"""Waits two seconds in every round of 20 clients in float32."""

import time

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "too_slow")
class TooSlow(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if len(delivered.messages) == 20 and delivered.messages.dtype == torch.float32:
            time.sleep(2.1)
        return server.global_model + delivered.messages.mean(dim=0)
