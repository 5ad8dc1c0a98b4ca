"""CRFL (Xie, Chen, Chen and Li 2021): the server clips the model that it has averaged, and adds noise to it.

After round t the model is scaled down to norm rho_t = min(rho, first + growth t), as the authors' code has it with
t counted from 1 and, for MNIST, rho = 15 and rho_t = 2 + 0.1 t; then it gets N(0, sigma^2) in every coordinate, except
after the last round. What the paper does at test time, a vote of many noisy copies of the last model, which its
certificate is about, is not played here: models are judged as they are broadcast, the last one without noise.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register
from defenses.fedavg import weighted_mean


def clipped(model: Tensor, rho: float) -> Tensor:
    """The model `(d,)`, scaled down to norm rho where it is longer."""
    require(0 < rho < math.inf, "rho", rho, "positive and finite")
    length = float(torch.linalg.vector_norm(model, dtype=torch.float64))
    return model * (rho / length) if length > rho else model


def crfl(model: Tensor, generator: torch.Generator, *, rho: float = 15.0, sigma: float = 0.01) -> Tensor:
    """The model `(d,)` clipped to norm rho, plus N(0, sigma^2) in every coordinate.

    Raises `ValueError` unless rho is positive and sigma not negative.
    """
    require(0 <= sigma < math.inf, "sigma", sigma, "at least 0 and finite")
    kept = clipped(model, rho)
    if sigma == 0:
        return kept
    return kept + sigma * torch.randn(model.shape, generator=generator, dtype=model.dtype, device=model.device)


@register("defense", "crfl")
class CRFL(Defense):
    """FedAvg whose model is clipped and perturbed in every round; certificates are not computed."""

    rho: float = Field(default=15.0, gt=0)  # the largest norm of a model
    first: float = Field(default=2.0, ge=0)  # rho_t = first + growth t until then
    growth: float = Field(default=0.1, gt=0)
    sigma: float = Field(default=0.01, ge=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        averaged = server.global_model + weighted_mean(delivered.messages, server.weights)
        rho = self.rho_after(server.index)
        if server.index + 1 == server.setting.rounds:
            return clipped(averaged, rho)
        return crfl(averaged, server.generator, rho=rho, sigma=self.sigma)

    def rho_after(self, index: int) -> float:
        """rho_t after round `index`, counted from 0."""
        return min(self.rho, self.first + self.growth * (index + 1))
