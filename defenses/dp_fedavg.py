"""DP-FedAvg (NISS paper, Algorithm 1): clients clip their update and add Gaussian noise before they upload it."""

import math
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor

from bench.base.errors import require
from bench.privacy.analysis.compose import compose_gaussian
from bench.privacy.analysis.gaussian import gaussian_epsilon, gaussian_sigma
from bench.privacy.claims import PrivacyClaim
from bench.protocol import LocalRound, ServerRound, Setting, SumDefense, Sums, Upload, clip
from bench.registry import register
from bench.rules import apply_weights


@register("defense", "dp_fedavg")
class DPFedAvg(SumDefense):
    """Each client k uploads p_k w + n, n ~ N(0, sigma_k^2 I), and the server adds the uploads up (eq. 2)."""

    weighted = True
    gaussian = True
    apart = True

    epsilon: float = Field(default=10.0, gt=0)
    delta: float = Field(default=1e-4, gt=0, lt=1)
    zeta: float = Field(default=3.0, gt=0)
    neighbours: Literal["replace", "add_remove"] = "replace"
    mechanism: Literal["analytic", "classical"] = "analytic"
    allow_large_epsilon: bool = False

    @model_validator(mode="after")
    def _classical_needs_small_epsilon(self) -> "DPFedAvg":
        if self.mechanism == "classical" and not self.allow_large_epsilon:
            wanted = "below 1 for the classical mechanism (Theorem 1), or allow_large_epsilon = true"
            require(self.epsilon < 1, "epsilon", self.epsilon, wanted)
        return self

    def sensitivity(self, setting: Setting) -> float:
        """Delta f of p_k w: 2 zeta p_k when a client's data is replaced, zeta p_k when it is added or removed."""
        p_k = 1 / setting.participants
        return (2 if self.neighbours == "replace" else 1) * self.zeta * p_k

    def sigma(self, setting: Setting) -> float:
        """sigma_k, the standard deviation that the Gaussian mechanism asks for (Corollary 1; errata N11)."""
        return gaussian_sigma(self.epsilon, self.delta, self.sensitivity(setting), self.mechanism == "analytic")

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return weights[:, None] * clip(updates, self.zeta)  # p_k w; errata N12

    def upload(self, local: LocalRound) -> Upload:
        message = self.message(local.updates, local.weights)
        n = self.sigma(local.setting) * torch.randn(message.shape, generator=local.generator, dtype=message.dtype)
        return Upload(message + n)

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        return server.global_model + total / server.weights.sum()  # eq. 2; the weights add up to 1

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(DPFedAvg)

    def summary(self, local: LocalRound) -> Tensor:
        return apply_weights(local.weights, clip(local.updates, self.zeta)).unsqueeze(0)

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        """A sum of independent n ~ N(0, sigma_k^2 I) is one draw from N(0, num_clients * sigma_k^2 I)."""
        sigma = self.sigma(setting) * math.sqrt(num_clients)
        return summary[0] + sigma * torch.randn(summary[0].shape, generator=generator, dtype=summary.dtype)

    def claim(self, setting: Setting) -> PrivacyClaim:
        epsilon, reason = self.epsilon, None
        if self.mechanism == "classical" and epsilon >= 1:
            sigma = self.sigma(setting)
            result = gaussian_epsilon(sigma, self.delta, self.sensitivity(setting))
            needed = gaussian_sigma(epsilon, self.delta, self.sensitivity(setting))
            reason = (
                f"Theorem 1 needs epsilon < 1, not {epsilon:g}: sigma would be {needed:.3g} by the exact condition, "
                f"and {sigma:.3g} gives {result:.4g}"
            )
        return PrivacyClaim(
            epsilon=epsilon if reason is None else None,
            delta=self.delta,
            unit="per upload",
            source="NISS paper, Corollary 1",
            reason=reason,
            neighbours=self.neighbours,
        )

    def composed(self, setting: Setting) -> PrivacyClaim:
        """All uploads of the busiest client; the server sees who takes part, so sampling does not amplify."""
        steps, delta = setting.busiest
        epsilon = compose_gaussian(self.sigma(setting) / self.sensitivity(setting), steps, delta)
        return PrivacyClaim(
            epsilon=epsilon,
            delta=setting.delta,
            unit="per client and run",
            source=f"{steps} Gaussian releases{setting.of_busiest}",
            neighbours=self.neighbours,
        )

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"sigma_k": self.sigma(setting), "sensitivity": self.sensitivity(setting)}

    def noise_variance(self, setting: Setting) -> float:
        return self.sigma(setting) ** 2

    def clip_norm(self) -> float:
        return self.zeta
