"""Min-Max (Shejwalkar and Houmansadr 2021): as far from the honest mean as the honest spread allows.

The forged message is the mean plus gamma times a perturbation; gamma is the largest at which it is no further from any
honest message than two of those are from each other. The paper bisects; here gamma is the root itself.
"""

from typing import Literal

import torch
from torch import Tensor

from bench.forging import check_honest, copies, fit, moments
from bench.registry import register
from bench.rules import gram_matrix, squared_distances
from bench.threat import ByzantineAttack, ByzantineView

Perturbation = Literal["unit", "std", "sign"]


def perturbed(honest: Tensor, perturbation: Perturbation) -> tuple[Tensor, Tensor]:
    """Mean and perturbation `(d,)`: against the mean's direction, minus the deviation, or against the mean's signs."""
    mean, std = moments(honest)
    return mean, {"unit": -mean / torch.linalg.vector_norm(mean), "std": -std, "sign": -torch.sign(mean)}[perturbation]


def spread(honest: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances `(h, h)` of the honest messages from each other, and `(h,)` from their mean; float64."""
    apart = squared_distances(gram_matrix(honest))
    return apart, (apart.mean(dim=1) - apart.mean() / 2).clamp(min=0)


def min_max(honest: Tensor, num_byzantine: int, perturbation: Perturbation = "std") -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + gamma * perturbation of `honest (h, d)`, with the largest gamma.

    |mean + gamma p - x_i|^2 <= max |x_j - x_k|^2 holds for every i up to the smallest of the positive roots.
    """
    check_honest(honest, num_byzantine)
    mean, p = perturbed(honest, perturbation)
    length = float(p.double().square().sum())
    if not length > 0:  # the honest are all alike, or the mean is zero: there is no direction to go
        return copies(mean, num_byzantine)
    apart, from_mean = spread(honest)
    slope = ((mean - honest) @ p).double()
    room = (apart.max() - from_mean).clamp(min=0)
    root = (slope.square() + length * room).sqrt()
    gamma = float(torch.where(slope > 0, room / (slope + root), (root - slope) / length).min())
    return copies(mean + gamma * p, num_byzantine)


@register("attack", "min_max")
class MinMax(ByzantineAttack):
    """Omniscient, and agnostic of the rule."""

    omniscient = True

    perturbation: Perturbation = "std"

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(min_max(view.honest, len(view.own), self.perturbation), view.alphabet)
