"""FLAME (Nguyen et al. 2022): cluster by cosine, clip to the median length, average, add noise."""

import math

import torch
from pydantic import Field
from sklearn.cluster import HDBSCAN
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, all_finite, check_detached, check_matrix, check_messages
from bench.registry import register
from bench.rules import apply_weights
from bench.rules.gram import check_square, checked_gram, norms_of, squared_distances


def cosine_distances(messages: Tensor, broadcast: Tensor) -> Tensor:
    """1 - cosine `(n, n)`, float64, between the models w + u_i, from updates u_i `(n, d)` and the broadcast w `(d,)`.

    (|u_i - u_j|^2 - (|w + u_i| - |w + u_j|)^2) / (2 |w + u_i| |w + u_j|): models that differ little from one another
    have cosines near 1, whose distance from 1 would be rounding error.
    """
    check_matrix(messages)
    check_detached(broadcast, "broadcast")
    w = broadcast.to(messages.dtype)
    longer = 2 * (messages @ w).double() + norms_of(messages).square()  # |w + u_i|^2 - |w|^2
    norms = sqrt((w.double().square().sum() + longer).clamp(min=0))
    total, product = norms[:, None] + norms[None, :], norms[:, None] * norms[None, :]
    gap = torch.where(total > 0, (longer[:, None] - longer[None, :]) / total, 0.0)
    apart = (squared_distances(checked_gram(messages)) - gap.square()) / (2 * product)
    return torch.where(product > 0, apart, 1.0).clamp(0, 2).fill_diagonal_(0)


def majority_cluster(distances: Tensor) -> Tensor:
    """Rows `(L,)` of the one cluster with more than half of the clients; all of them where HDBSCAN finds none."""
    check_square(distances, "distances")
    n = len(distances)
    if n == 1:
        return torch.zeros(1, dtype=torch.long, device=distances.device)
    result = HDBSCAN(
        min_cluster_size=n // 2 + 1, min_samples=1, metric="precomputed", allow_single_cluster=True, copy=True
    ).fit_predict(distances.cpu().numpy())
    rows = torch.from_numpy((result == 0).nonzero()[0]).to(distances.device)
    return rows if len(rows) else torch.arange(n, device=distances.device)


def flame(
    messages: Tensor, generator: torch.Generator, *, broadcast: Tensor | None = None, noise_level: float = 0.001
) -> Tensor:
    """The noisy mean `(d,)` of the updates `(n, d)` in the majority cluster, each clipped to the median norm S of all.

    Clustered are the models, `broadcast (d,)` plus update; without one the updates. The noise is N(0, (lambda S)^2),
    lambda being the `noise_level`. Raises `ValueError` unless it is not negative and the messages are finite.
    """
    check_messages(messages)
    require(0 <= noise_level < math.inf, "noise_level", noise_level, "at least 0 and finite")
    w = messages.new_zeros(messages.shape[1]) if broadcast is None else broadcast
    fits = w.shape == messages.shape[1:] and all_finite(w)
    require(fits, "broadcast", tuple(w.shape), f"{messages.shape[1]} finite numbers")
    admitted = majority_cluster(cosine_distances(messages, w))
    norms = norms_of(messages)
    s = norms.quantile(0.5)
    weights = torch.zeros_like(norms)
    weights[admitted] = torch.where(norms > s, s / norms, 1.0)[admitted] / len(admitted)
    noise = torch.randn(messages.shape[1], generator=generator, dtype=messages.dtype, device=messages.device)
    return apply_weights(weights, messages) + noise_level * float(s) * noise


@register("defense", "flame")
class FLAME(Defense):
    """FLAME; the paper's lambda for images, which it took from experiments and not from a budget of privacy."""

    breakdown = 0.5

    noise_level: float = Field(default=0.001, ge=0)  # lambda

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        w, generator = server.global_model, server.generator
        return w + flame(delivered.messages, generator, broadcast=w, noise_level=self.noise_level)
