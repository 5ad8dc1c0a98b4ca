"""Min-Sum (Shejwalkar and Houmansadr 2021): as far from the honest mean as the honest sums allow.

As Min-Max, but gamma is the largest at which the forged message's squared distances to the honest ones add up to no
more than those of some honest message do. The paper bisects; here gamma is the root itself.
"""

import math

from torch import Tensor

from attacks.min_max import Perturbation, perturbed, spread
from bench.forging import check_honest, copies, fit
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def min_sum(honest: Tensor, num_byzantine: int, perturbation: Perturbation = "std") -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + gamma * perturbation of `honest (h, d)`, with the largest gamma.

    sum_i |mean + gamma p - x_i|^2 = sum_i |mean - x_i|^2 + h gamma^2 |p|^2, since deviations from a mean add up to 0.
    """
    check_honest(honest, num_byzantine)
    mean, p = perturbed(honest, perturbation)
    length = float(p.double().square().sum())
    if not length > 0:  # the honest are all alike, or the mean is zero: there is no direction to go
        return copies(mean, num_byzantine)
    apart, from_mean = spread(honest)
    room = float(apart.sum(dim=1).max() - from_mean.sum())
    return copies(mean + math.sqrt(max(room, 0.0) / (len(honest) * length)) * p, num_byzantine)


@register("attack", "min_sum")
class MinSum(ByzantineAttack):
    """Omniscient, and agnostic of the rule."""

    omniscient = True

    perturbation: Perturbation = "std"

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(min_sum(view.honest, len(view.own), self.perturbation), view.alphabet)
