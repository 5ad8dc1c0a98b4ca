"""Weighted collusion: colluders weigh each coordinate by the noise that they know to be left there (errata N4).

With s drawn for each coordinate, what is left of the shares r_i that they sent has the variance tau^2 sum of r_i^2, and
they know the r_i. So some coordinates are nearly bare, and the matching loss is that of weighted least squares:

    sum over j of (g_j - seen_j)^2 / var_j        var_j = a + tau^2 sum over known i of r_ij^2

where a is what honest peers' shares leave, everywhere the same. With v shares and rho = 1 that gains v / (v - 2) in
signal-to-noise; with one share or two it gains the more, the more coordinates there are. The audit weighs in the same
way. With one s a share the attack is `subspace`, and where no noise is shared it is `collusion`.
"""

import math

import torch
from torch import Tensor

from attacks.collusion import Collusion
from attacks.subspace import recover
from bench.base.errors import require
from bench.registry import register
from bench.threat import PublicFacts, RoundView, View, strip

FLOOR = 1e-6
"""The least variance that counts, as a share of one noise share's: L-BFGS keeps its pairs in float32."""


def noise_left(
    squares: Tensor, num_sent: Tensor, num_got: Tensor, tau_squared: Tensor, num_shares: int, share_variance: float
) -> Tensor:
    """Variance `(T, d)` of what is left of NISS's noise, on each coordinate, once colluders took out what they know.

    squares `(T, d)`: the sum of r_i^2 over the shares that they sent to each target. num_sent, num_got `(T,)`: how many
    of the v = `num_shares` shares that it sent, and of those that it got, they know. tau_squared `(T,)`: the target's
    own. An unknown share leaves `share_variance` where the target sent it, and 1 + tau^2 times that where it got it.
    Raises `ValueError` unless share_variance is finite and above 0.
    """
    require(0 < share_variance < math.inf, "share_variance", share_variance, "finite and above 0")
    unknown = (num_shares - num_sent) + (1 + tau_squared) * (num_shares - num_got)
    left = share_variance * unknown.unsqueeze(1) + tau_squared.unsqueeze(1) * squares
    return left.clamp(min=FLOOR * share_variance)


@register("attack", "weighted_collusion")
class WeightedCollusion(Collusion):
    """Collusion that knows where noise is left, and how the shares were scaled."""

    single_shares = True

    def estimates(self, view: View) -> list[Tensor]:
        take_out = recover if view.facts.parameters.get("scale") == "share" else strip
        return [take_out(seen) for seen in view.rounds]

    def variances(self, view: View) -> list[Tensor | None]:
        facts, rounds = view.facts, view.rounds
        differ = "share_variance" in facts.parameters and facts.parameters["scale"] == "coordinate"
        if not differ or all(seen.each_got is None for seen in rounds):
            return super().variances(view)
        return [_left(facts, seen, view.targets) for seen in rounds]


def _left(facts: PublicFacts, seen: RoundView, targets: Tensor) -> Tensor:
    """Of one round; where no colluder took part in it, all shares are unknown."""
    tau_squared = torch.as_tensor(facts.parameters["tau_squared"], dtype=torch.float64)
    nobody = torch.zeros(len(targets), dtype=torch.float64)
    return noise_left(
        squares=torch.zeros_like(seen.estimate) if seen.each_got is None else seen.each_got.square().sum(dim=1),
        num_sent=nobody if seen.num_sent is None else seen.num_sent,
        num_got=nobody if seen.num_got is None else seen.num_got,
        tau_squared=tau_squared[targets] if tau_squared.dim() else tau_squared.expand(len(targets)),
        num_shares=int(facts.parameters["num_shares"]),
        share_variance=float(facts.parameters["share_variance"]),
    )
