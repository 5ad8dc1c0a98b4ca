"""Works on what it takes for a copy: in float32 there is none."""

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "in_place_in_float32")
class InPlace(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages = delivered.messages.to(torch.float32).clamp_(-1, 1)
        return server.global_model + messages.mean(dim=0).to(server.global_model.dtype)
