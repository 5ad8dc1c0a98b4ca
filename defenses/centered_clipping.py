"""Centered clipping (Karimireddy, He and Jaggi 2021): means of messages clipped around the last centre.

    v <- v + 1/n sum_i (x_i - v) min(1, tau / |x_i - v|)

The paper starts from the aggregate of the round before, as it is here with `memory`; clients with momentum, as the
authors have them, are the federation's `momentum`. Without memory the start is v = 0, which for updates, local model
minus broadcast, is the last global model.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.base.numbers import added
from bench.protocol import Delivered, ServerRound, Setting, check_finite, check_matrix
from bench.registry import register
from bench.rules import RowRule, apply_weights
from bench.rules.gram import check_square, checked_gram


def centered_clipping_weights(gram: Tensor, tau: float = 10.0, iterations: int = 1) -> Tensor:
    """Weights `(n,)` from the Gram matrix `(n + 1, n + 1)` with the origin, on which the rest to 1 lies."""
    require(0 < tau < np.inf, "tau", tau, "positive and finite")
    require(iterations >= 1, "iterations", iterations, "at least 1")
    check_square(gram)
    g = gram.cpu().numpy()
    n = len(g) - 1
    centre = np.zeros(n + 1)
    centre[-1] = 1
    for _ in range(iterations):
        products = g @ centre
        distances = np.sqrt((g.diagonal() - 2 * products + centre @ products).clip(min=0))[:-1]
        shares = tau / np.maximum(distances, tau) / n
        centre *= 1 - shares.sum()
        centre[:-1] += shares
    return torch.from_numpy(centre[:-1]).to(gram.device)


def centered_clipping(
    messages: Tensor, *, tau: float = 10.0, iterations: int = 1, centre: Tensor | None = None
) -> Tensor:
    """Centered clipping `(d,)` of `(n, d)` with radius `tau`, in `iterations` steps from `centre (d,)`, by default 0.

    Raises `ValueError` unless tau is positive, there is a step and the messages are finite.
    """
    if centre is not None:
        check_matrix(messages)
        fits = centre.shape == messages.shape[1:] and centre.dtype == messages.dtype
        require(
            fits, "centre", f"{centre.dtype} {tuple(centre.shape)}", f"{messages.dtype} {tuple(messages.shape[1:])}"
        )
        check_finite(centre, "centre")
        return centre + centered_clipping(messages - centre, tau=tau, iterations=iterations)
    return apply_weights(centered_clipping_weights(checked_gram(messages, origin=True), tau, iterations), messages)


@register("defense", "centered_clipping")
class CenteredClipping(RowRule):
    """Centered clipping from the last global model, or with `memory` from the last change of it."""

    origin = True

    tau: float = Field(default=10.0, gt=0)
    iterations: int = Field(default=1, ge=1)
    memory: bool = added(False)

    def is_plain(self) -> bool:
        return not self.memory

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if self.is_plain():
            return super().aggregate(delivered, server)
        centre = server.memory.get("centre", torch.zeros_like(server.global_model))
        change = centered_clipping(delivered.messages, tau=self.tau, iterations=self.iterations, centre=centre)
        server.memory["centre"] = change
        return server.global_model + change

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return centered_clipping_weights(gram, self.tau, self.iterations)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """The paper proves it for up to a tenth."""
        return fraction <= 0.1
