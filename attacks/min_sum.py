"""Min-Sum (Shejwalkar and Houmansadr 2021): as far from the honest mean as the honest sums allow.

As Min-Max, but gamma is the largest at which the forged message's squared distances to the honest ones add up to no
more than those of some honest message do. The paper bisects; here gamma is the root itself.

The authors' code (vrt1shjwlkr/NDSS21-Model-Poisoning, `our_attack_score`) forges gradients, mean - lambda sigma, which
the server subtracts. An update is minus a gradient: it is mean + lambda sigma here, and `sign="minus"` the other one.
"""

import math

from torch import Tensor

from bench.attacking.forging import AgnosticAttack, Perturbation, Sign, perturbed, spread, squared_length
from bench.registry import register


def min_sum(honest: Tensor, num_byzantine: int, perturbation: Perturbation = "std", *, sign: Sign = "plus") -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + gamma * perturbation of `honest (h, d)`, with the largest gamma."""
    return perturbed(min_sum_gamma, honest, num_byzantine, perturbation, sign)


def min_sum_gamma(honest: Tensor, mean: Tensor, p: Tensor) -> float:
    """The root of sum_i |mean + gamma p - x_i|^2 = sum_i |mean - x_i|^2 + h gamma^2 |p|^2 = max_j sum_i |x_j - x_i|^2.

    The sum has no term in gamma: deviations from a mean add up to 0.
    """
    apart, from_mean = spread(honest)
    room = float(apart.sum(dim=1).max() - from_mean.sum())
    return math.sqrt(max(room, 0.0) / (len(honest) * float(squared_length(p))))


@register("attack", "min_sum")
class MinSum(AgnosticAttack):
    """Omniscient, and agnostic of the rule."""

    def furthest(self, honest: Tensor, num_byzantine: int) -> Tensor:
        return min_sum(honest, num_byzantine, self.perturbation, sign=self.sign)
