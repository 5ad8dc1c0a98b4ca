"""Min-Max (Shejwalkar and Houmansadr 2021): as far from the honest mean as the honest spread allows.

The forged message is the mean plus gamma times a perturbation; gamma is the largest at which it is no further from any
honest message than two of those are from each other. The paper bisects; here gamma is the root itself.

The authors' code (vrt1shjwlkr/NDSS21-Model-Poisoning, `our_attack_dist`) forges gradients, mean - lambda sigma, which
the server subtracts. An update is minus a gradient: it is mean + lambda sigma here, and `sign="minus"` the other one.
"""

import torch
from torch import Tensor

from bench.attacking.forging import AgnosticAttack, Perturbation, Sign, perturbed, spread, squared_length
from bench.base.elementary import sqrt
from bench.registry import register


def min_max(honest: Tensor, num_byzantine: int, perturbation: Perturbation = "std", *, sign: Sign = "plus") -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + gamma * perturbation of `honest (h, d)`, with the largest gamma."""
    return perturbed(min_max_gamma, honest, num_byzantine, perturbation, sign)


def min_max_gamma(honest: Tensor, mean: Tensor, p: Tensor) -> float:
    """|mean + gamma p - x_i|^2 <= max |x_j - x_k|^2 holds for every i up to the smallest of the positive roots."""
    apart, from_mean = spread(honest)
    length = float(squared_length(p))
    slope = ((mean - honest) @ p).double()
    room = (apart.max() - from_mean).clamp(min=0)
    root = sqrt(slope.square() + length * room)
    return float(torch.where(slope > 0, room / (slope + root), (root - slope) / length).min())


@register("attack", "min_max")
class MinMax(AgnosticAttack):
    """Omniscient, and agnostic of the rule."""

    def furthest(self, honest: Tensor, num_byzantine: int) -> Tensor:
        return min_max(honest, num_byzantine, self.perturbation, sign=self.sign)
