"""signSGD with majority vote (Bernstein et al. 2019): clients send signs, the server follows the most."""

import torch
from pydantic import Field
from torch import Tensor

from bench.protocol import Alphabet, ServerRound, Setting, SumDefense, Sums, check_messages
from bench.registry import register
from bench.rules import exact_sum


def sign_majority(messages: Tensor) -> Tensor:
    """The sign that most of the messages `(n, d)` have in each coordinate: `(d,)` in {-1, 0, 1}, 0 for a tie.

    Messages may be gradients or their signs; raises `ValueError` where they are empty or not finite.
    """
    check_messages(messages, signs=True)
    return exact_sum(torch.sign(messages)).sign()


@register("defense", "sign_majority")
class SignMajority(SumDefense):
    """Clients send sign(w_0 - w_i), that of the gradient after one local step; w_0 <- w_0 - server_lr sign(sum)."""

    alphabet = Alphabet.TERNARY
    apart = True
    exact = True
    breakdown = 0.5  # of adversaries that are blind

    server_lr: float = Field(default=0.01, gt=0)  # eta; it decays as the clients' learning rate does

    def message(self, updates: Tensor, weights: Tensor) -> Tensor:
        return torch.sign(-updates).to(torch.int8)

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        return exact_sum(messages).to(weights.dtype)  # one vote a client, whatever its data

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        setting = server.setting
        eta = self.server_lr * setting.learning_rate(server.index) / setting.lr
        return server.global_model - eta * total.sign()

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(SignMajority)
