"""Picks a client with torch's global generator."""

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "global_generator")
class GlobalGenerator(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages[torch.randint(len(delivered.messages), (1,))[0]]
