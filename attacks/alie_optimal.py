"""ALIE with the factor that harms the deployed rule most (Allouah et al. 2023, "Fixing by mixing").

z is searched on a line against the server's own rule, with the honest messages of the round: what counts is how far the
rule's output moves from the honest mean.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.forging import Rule, check_honest, copies, deployed, deviation, fit, line_search, moments
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


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
    mean, std = moments(honest, ddof)
    moved = deviation(aggregate, honest)

    def forged(z: float) -> Tensor:
        return copies(torch.add(mean, std, alpha=z), num_byzantine)

    return forged(line_search(lambda z: moved(forged(z)), low, high, points))


@register("attack", "alie_optimal")
class OptimalALIE(ByzantineAttack):
    """Omniscient, and plays each candidate through the deployed rule."""

    omniscient = True

    low: float = Field(default=0.1, gt=0)
    high: float = Field(default=100.0, gt=0)
    points: int = Field(default=10, ge=2)
    ddof: int = Field(default=0, ge=0, le=1)

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        searched = (self.low, self.high, self.points)
        return fit(alie_optimal(view.honest, len(view.own), deployed(view), *searched, self.ddof), view.alphabet)
