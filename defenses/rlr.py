"""RLR, robust learning rate (Ozdayi, Kantarcioglu and Gel 2021): where too few agree on a sign, the mean is undone.

In a coordinate in which the absolute sum of the updates' signs is at least theta the server steps along the mean, in
all others as far against it. A backdoor moves coordinates that few want to move.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting, check_messages
from bench.registry import register
from defenses.fedavg import weighted_mean


def learning_signs(messages: Tensor, theta: float) -> Tensor:
    """1 where |sum of signs| of the messages `(n, d)` is at least theta, else -1: `(d,)`."""
    check_messages(messages)
    require(0 < theta < math.inf, "theta", theta, "positive and finite")
    agreed = torch.sign(messages).sum(dim=0).abs() >= theta
    return torch.where(agreed, 1.0, -1.0).to(messages)


def rlr(messages: Tensor, *, theta: float = 4.0, weights: Tensor | None = None) -> Tensor:
    """The mean `(d,)` of the updates `(n, d)`, weighted by `weights (n,)`, turned round where too few agree.

    Raises `ValueError` unless theta is positive and the messages are finite.
    """
    return learning_signs(messages, theta) * weighted_mean(messages, weights)


@register("defense", "rlr")
class RLR(Defense):
    """FedAvg under a robust learning rate; theta is a share of the round's messages.

    The authors' code takes a number, in its example 4 of 10 clients, one of them malicious. The paper's text was not at
    hand: how many attackers it claims to stand is not stated here.
    """

    share: float = Field(default=0.4, gt=0, le=1)  # theta / n

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        theta = self.theta(len(delivered.messages))
        return server.global_model + rlr(delivered.messages, theta=theta, weights=server.weights)

    def theta(self, num_messages: int) -> float:
        """The least sum of signs, of so many messages, that counts as agreement."""
        return self.share * num_messages

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"theta": self.theta(setting.participants)}
