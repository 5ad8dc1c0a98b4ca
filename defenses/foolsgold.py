"""FoolsGold without memory (Fung et al. 2020): clients whose updates point the same way lose weight.

The paper compares the sums of each client's updates over all rounds; a defense keeps nothing between rounds, so that
this is the paper's algorithm on the current updates, over all their coordinates. The weights count for a mean, not for
a sum, whose length would grow with the number of clients.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import RowRule, apply_weights
from bench.rules.gram import checked_gram, squared_distances


def foolsgold_weights(gram: Tensor, kappa: float = 1.0) -> Tensor:
    """Weights `(n,)`, which add up to 1, from the Gram matrix `(n + 1, n + 1)` with the origin.

    All 0 where every message has a twin, when nobody can be told from a sybil. A lone message has weight 1.
    """
    require(0 < kappa < math.inf, "kappa", kappa, "positive and finite")
    distances = squared_distances(gram)
    norms = distances[-1, :-1].sqrt()
    if len(norms) == 1:
        return torch.ones_like(norms)
    product = norms[:, None] * norms[None, :]
    apart = (distances[:-1, :-1] - (norms[:, None] - norms[None, :]).square()) / (2 * product)  # 1 - cosine
    cs = torch.where(product > 0, 1 - apart, 0.0).fill_diagonal_(0)
    v = cs.max(dim=1).values
    pardon = torch.where(v[None, :] > v[:, None], v[:, None] / v[None, :], 1.0)
    alpha = (1 - (cs * pardon).max(dim=1).values).clamp(0, 1)
    if not bool(alpha.any()):
        return alpha
    alpha = (kappa * ((alpha / alpha.max()).logit() + 0.5)).clamp(0, 1)
    return alpha / alpha.sum()


def foolsgold(messages: Tensor, *, kappa: float = 1.0) -> Tensor:
    """The weighted mean `(d,)` of `(n, d)`; raises `ValueError` unless kappa is positive and all is finite."""
    return apply_weights(foolsgold_weights(checked_gram(messages, origin=True), kappa), messages)


@register("defense", "foolsgold")
class FoolsGold(RowRule):
    """FoolsGold on the updates of one round; it needs no number of Byzantine clients."""

    origin = True

    kappa: float = Field(default=1.0, gt=0)  # how sure the logit is

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return foolsgold_weights(gram, self.kappa)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """Any number of sybils that share a goal, and at least one honest client."""
        return fraction < 1
