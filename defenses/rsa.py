"""RSA (Li et al. 2019; DPBFL paper, section 2.2): the server follows the signs of its distance to the workers' models.

Each worker keeps a model of its own, pulled towards the global one by an l1 penalty (eq. 1); a Byzantine worker can
move the sum of signs by one vote a coordinate and no more. The worker's step (eq. 3) is `rsa_blocks` of
`bench.federation.clients`.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import ServerRound, Setting, SumDefense, Sums, check_messages
from bench.registry import register


def sign_sum(global_model: Tensor, local_models: Tensor) -> Tensor:
    """Sum over the workers of sign(w_0 - w_i): `(d,)` from `(d,)` and `(n, d)`."""
    check_messages(local_models, "local_models")
    fits = global_model.shape == local_models.shape[1:]
    require(fits, "global_model", tuple(global_model.shape), f"of {local_models.shape[1]} entries")
    return _votes(local_models - global_model)


def _votes(away: Tensor) -> Tensor:
    """The same from w_i - w_0 `(n, d)`."""
    return -torch.sign(away).sum(dim=0)


@register("defense", "rsa")
class RSA(SumDefense):
    """Workers upload w_i - w_0; the server takes the signs and steps (eq. 4)."""

    keeps_models = True
    breakdown = 0.5
    exact = True

    penalty: float = Field(default=0.02, gt=0)  # lambda
    kappa: float = Field(default=4.0, gt=0)  # the server's step is kappa * alpha / n, not alpha (errata D16)
    weight_decay: float = Field(default=0.0, ge=0)  # f_0(w_0) = (weight_decay / 2) |w_0|^2

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(RSA)

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return _votes(messages)  # one vote a client, whatever its data

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        return self.server_step(server, total)

    def server_step(self, server: ServerRound, z: Tensor) -> Tensor:
        """w_0 <- w_0 - alpha_0 (grad f_0(w_0) + lambda z), eq. 4 and 12."""
        w_0, setting = server.global_model, server.setting
        alpha_0 = self.kappa * setting.learning_rate(server.index) / setting.participants
        return w_0 - alpha_0 * (self.weight_decay * w_0 + self.penalty * z)

    def local_penalty(self) -> float:
        return self.penalty
