"""ALIE with the factor that harms the deployed rule most (Allouah et al. 2023, "Fixing by mixing").

z is searched on a line against the server's own rule, with the honest messages of the round: what counts is how far the
rule's output moves from the honest mean.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import FactorSearch, Rule, check_honest, check_number, copies, moments, most_harmful
from bench.registry import register


def alie_optimal(
    honest: Tensor,
    num_byzantine: int,
    aggregate: Rule,
    low: float = 0.1,
    high: float = 100.0,
    points: int = 10,
    ddof: int = 0,
) -> Tensor:
    """`num_byzantine` rows `(f, d)`, mean + z sigma with z from `low` to `high`, in 2 `points` evaluations."""
    check_honest(honest, num_byzantine)
    check_number("high", high, honest.dtype)
    mean, std = moments(honest, ddof)

    def forged(z: float) -> Tensor:
        return copies(torch.add(mean, std, alpha=z), num_byzantine)

    return most_harmful(forged, honest, aggregate, low, high, points)


@register("attack", "alie_optimal")
class OptimalALIE(FactorSearch):
    """Omniscient, and plays each candidate through the deployed rule."""

    ddof: int = Field(default=0, ge=0, le=1)

    def strongest(self, honest: Tensor, num_byzantine: int, aggregate: Rule) -> Tensor:
        return alie_optimal(honest, num_byzantine, aggregate, self.low, self.high, self.points, self.ddof)
