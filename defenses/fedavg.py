"""FedAvg (McMahan et al. 2017): the mean of the clients' models, weighted by their data (NISS paper, Algorithm 1)."""

import torch
from torch import Tensor

from bench.base.errors import require
from bench.protocol import ServerRound, Setting, SumDefense, Sums, check_messages
from bench.registry import register
from bench.rules import apply_weights


def weighted_mean(messages: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean `(d,)` of messages `(n, d)` with non-negative weights `(n,)`, equal ones by default.

    Raises `ValueError` where messages are empty or not finite, or weights negative or all zero.
    """
    check_messages(messages)
    if weights is None:
        return messages.mean(dim=0)
    fine = weights.shape == messages.shape[:1] and bool(((weights >= 0) & weights.isfinite()).all() and weights.any())
    require(fine, "weights", weights.tolist(), f"{len(messages)} finite numbers, none negative, not all zero")
    exact = weights.to(torch.promote_types(weights.dtype, messages.dtype))
    shares = exact / exact.amax()  # the smallest numbers have few digits, and products of them fewer
    return apply_weights(shares, messages) / shares.sum()


@register("defense", "fedavg")
class FedAvg(SumDefense):
    """w_{t+1} = sum of p_k w_k, p_k = d_k / sum of d_i: no noise, no robustness."""

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(FedAvg)

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return apply_weights(weights, messages)  # sum of p_k w_k

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        return server.global_model + total / server.weights.sum()
