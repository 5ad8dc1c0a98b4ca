"""Adds noise to each message, and half of it to the sum that stands for them."""

import torch
from torch import Tensor

from bench.protocol import LocalRound, ServerRound, Setting, SumDefense, Sums, Upload
from bench.registry import register


@register("defense", "wrong_sums")
class WrongSums(SumDefense):
    def upload(self, local: LocalRound) -> Upload:
        noise = torch.randn(local.updates.shape, generator=local.generator, dtype=local.updates.dtype)
        return Upload(local.updates + 0.1 * noise)

    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        return server.global_model + total / server.setting.participants

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(WrongSums)

    def summary(self, local: LocalRound) -> Tensor:
        return local.updates.sum(dim=0, keepdim=True)

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        noise = torch.randn(summary[0].shape, generator=generator, dtype=summary.dtype)
        return summary[0] + 0.05 * num_clients**0.5 * noise
