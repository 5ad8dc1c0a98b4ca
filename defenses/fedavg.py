"""FedAvg (McMahan et al. 2017): the mean of the clients' models, weighted by their data (NISS paper, Algorithm 1)."""

from torch import Tensor

from bench.errors import require
from bench.protocol import Defense, Delivered, ServerRound, check_messages
from bench.registry import register


def weighted_mean(messages: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean `(d,)` of messages `(n, d)` with non-negative weights `(n,)`, equal ones by default.

    Raises `ValueError` where messages are empty or not finite, or weights negative or all zero.
    """
    check_messages(messages)
    if weights is None:
        return messages.mean(dim=0)
    fine = weights.shape == messages.shape[:1] and bool(((weights >= 0) & weights.isfinite()).all() and weights.any())
    require(fine, "weights", weights.tolist(), f"{len(messages)} finite numbers, none negative, not all zero")
    return (weights / weights.sum()).to(messages.dtype) @ messages


@register("defense", "fedavg")
class FedAvg(Defense):
    """w_{t+1} = sum of p_k w_k, p_k = d_k / sum of d_i: no noise, no robustness."""

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + weighted_mean(delivered.messages, server.weights)
