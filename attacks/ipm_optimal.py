"""IPM with the factor that harms the deployed rule most (Allouah et al. 2023, "Fixing by mixing": FOE).

epsilon is searched on a line against the server's own rule, with the honest messages of the round: what counts is how
far the rule's output moves from the honest mean.
"""

from pydantic import Field
from torch import Tensor

from attacks.ipm import ipm
from bench.forging import Rule, check_honest, deployed, deviation, fit, line_search
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def ipm_optimal(
    honest: Tensor, num_byzantine: int, aggregate: Rule, low: float = 0.1, high: float = 100.0, points: int = 10
) -> Tensor:
    """`num_byzantine` rows `(f, d)`, -epsilon mean with epsilon from `low` to `high`, in 2 `points` evaluations."""
    check_honest(honest, num_byzantine)
    moved = deviation(aggregate, honest)
    best = line_search(lambda epsilon: moved(ipm(honest, num_byzantine, epsilon)), low, high, points)
    return ipm(honest, num_byzantine, best)


@register("attack", "ipm_optimal")
class OptimalIPM(ByzantineAttack):
    """Omniscient, and plays each candidate through the deployed rule."""

    omniscient = True

    low: float = Field(default=0.1, gt=0)
    high: float = Field(default=100.0, gt=0)
    points: int = Field(default=10, ge=2)

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        searched = (self.low, self.high, self.points)
        return fit(ipm_optimal(view.honest, len(view.own), deployed(view), *searched), view.alphabet)
