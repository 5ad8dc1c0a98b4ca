"""Central DP-FedAvg (McMahan et al. 2018, algorithm 1): clients clip, a trusted server adds one noise to the sum."""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.privacy.claims import PrivacyClaim
from bench.privacy.sampling import compose_hidden_draws
from bench.protocol import ServerRound, Setting, SumDefense, Sums, check_messages, clip
from bench.registry import register
from bench.rules import apply_weights


def central_dp_fedavg(messages: Tensor, generator: torch.Generator, *, zeta: float = 3.0, z: float = 1.0) -> Tensor:
    """The mean `(d,)` of the clipped messages `(n, d)`, plus N(0, (z zeta / n)^2).

    Raises `ValueError` unless zeta is positive, z not negative, and the messages are finite.
    """
    check_messages(messages)
    require(0 < zeta <= torch.finfo(messages.dtype).max, "zeta", zeta, "positive and finite")
    require(0 <= z < math.inf, "z", z, "at least 0 and finite")
    return noisy(clip(messages, zeta).mean(dim=0), z * zeta / len(messages), generator)


def noisy(mean: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """The mean `(d,)` plus N(0, sigma^2)."""
    return mean + sigma * torch.randn(mean.shape, generator=generator, dtype=mean.dtype)


@register("defense", "central_dp_fedavg")
class CentralDPFedAvg(SumDefense):
    """Clients upload their clipped updates in the clear; whoever sees the models sees the noise, and the server none.

    Neighbours differ by one client's contribution, present or 0 (the paper's user-level privacy), so that a release of
    the sum with noise N(0, (z zeta)^2) is a Gaussian mechanism of noise multiplier z.
    """

    gaussian = True
    against = "models"

    zeta: float = Field(default=3.0, gt=0)  # S, the norm to which a client clips
    z: float = Field(default=1.0, gt=0)  # the noise multiplier

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return clip(updates, self.zeta)

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return apply_weights(weights, messages)

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        """The sum of p_k clip(w_k): who stays away counts as 0, so that nobody's share of the sum can grow."""
        return server.global_model + noisy(total, self.sigma(server.setting), server.generator)

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(CentralDPFedAvg)

    def sigma(self, setting: Setting) -> float:
        """The standard deviation of the noise on the mean of the updates."""
        return self.z * self.zeta / setting.participants

    def claim(self, setting: Setting) -> PrivacyClaim:
        return self._released(setting, 1, "per round")

    def composed(self, setting: Setting) -> PrivacyClaim:
        return self._released(setting, setting.rounds, "per client and run")

    def _released(self, setting: Setting, rounds: int, unit: str) -> PrivacyClaim:
        n, m = setting.num_clients, setting.participants
        draw = "" if m == n else f", {m} of {n} clients drawn unseen"
        source = f"{rounds} Gaussian releases{draw}: against who sees the models, not against the server"
        epsilon = compose_hidden_draws(self.z, n, m, rounds, setting.delta)
        return PrivacyClaim(epsilon=epsilon, delta=setting.delta, unit=unit, source=source, neighbours="add_remove")

    @classmethod
    def claims_privacy(cls) -> bool:
        """Nothing against the server, who is the adversary of every audit."""
        return False

    def derived(self, setting: Setting) -> dict[str, float]:
        return {"sigma": self.sigma(setting)}

    def clip_norm(self) -> float:
        return self.zeta
