"""Weak differential privacy (Sun et al. 2019): the mean of clipped updates, with a little Gaussian noise.

Norm clipping, and noise too small to prove any privacy by: it shall blur backdoors. The noise is sigma in every
coordinate of the mean, whatever the bound and the number of clients; in public code sigma = 0.025 beside a bound of 2
(the scripts of Wang et al. 2020, who compare with it). With noise in proportion to bound over clients, and a claim, it
is `central_dp_fedavg`.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, check_messages
from bench.registry import register
from defenses.norm_clipping import norm_clipping


def weak_dp(messages: Tensor, generator: torch.Generator, *, bound: float = 2.0, sigma: float = 0.025) -> Tensor:
    """The mean `(d,)` of the rows of `(n, d)`, none longer than `bound`, plus N(0, sigma^2) in every coordinate.

    Raises `ValueError` unless the bound is positive, sigma not negative and the messages are finite.
    """
    check_messages(messages)
    require(0 <= sigma < math.inf, "sigma", sigma, "at least 0 and finite")
    mean = norm_clipping(messages, bound=bound)
    return mean + sigma * torch.randn(mean.shape, generator=generator, dtype=mean.dtype, device=mean.device)


@register("defense", "weak_dp")
class WeakDP(Defense):
    """Clipping and noise by the server; it claims no privacy, and to stand no number of attackers."""

    bound: float = Field(default=2.0, gt=0)
    sigma: float = Field(default=0.025, ge=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        moved = weak_dp(delivered.messages, server.generator, bound=self.bound, sigma=self.sigma)
        return server.global_model + moved
