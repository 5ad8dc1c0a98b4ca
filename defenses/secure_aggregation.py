"""Secure aggregation (Bonawitz et al. 2017): masks that cancel leave the server the sum of the messages, and no more.

What it does is played, not how: the channel delivers one row, the sum. Colluders know their own messages, so that
with them the server knows the sum of the rest; when all others collude, that is the target's message. It claims nothing
about differential privacy, and no rule but a sum works under it, against Byzantine clients least of all.
"""

import torch
from torch import Tensor

from bench.protocol import Delivered, LocalRound, ServerRound, Setting, SumDefense, Sums, check_messages
from bench.registry import register
from bench.rules import apply_weights


def secure_aggregation(messages: Tensor) -> Tensor:
    """All that the server gets of the messages `(n, d)`: their sum `(1, d)`, rounded once."""
    check_messages(messages)
    return messages.sum(dim=0, keepdim=True, dtype=torch.float64).to(messages.dtype)


@register("defense", "secure_aggregation")
class SecureAggregation(SumDefense):
    """FedAvg behind a channel that opens the sum alone. Masks and key exchanges are not among its bytes."""

    weighted = True
    apart = True

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return weights[:, None] * updates

    def deliver(self, messages: Tensor, generator: torch.Generator) -> Delivered:
        return Delivered(secure_aggregation(messages), senders=None)

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        return server.global_model + total / server.weights.sum()

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(SecureAggregation)

    def summary(self, local: LocalRound) -> Tensor:
        return apply_weights(local.weights, local.updates).unsqueeze(0)
