"""IPM with the factor that harms the deployed rule most (Allouah et al. 2023, "Fixing by mixing": FOE).

epsilon is searched on a line against the server's own rule, with the honest messages of the round: what counts is how
far the rule's output moves from the honest mean.
"""

from torch import Tensor

from attacks.ipm import ipm
from bench.attacking.forging import FactorSearch, Rule, check_honest, most_harmful
from bench.registry import register


def ipm_optimal(
    honest: Tensor, num_byzantine: int, aggregate: Rule, low: float = 0.1, high: float = 100.0, points: int = 10
) -> Tensor:
    """`num_byzantine` rows `(f, d)`, -epsilon mean with epsilon from `low` to `high`, in 2 `points` evaluations."""
    check_honest(honest, num_byzantine)
    return most_harmful(lambda epsilon: ipm(honest, num_byzantine, epsilon), honest, aggregate, low, high, points)


@register("attack", "ipm_optimal")
class OptimalIPM(FactorSearch):
    """Omniscient, and plays each candidate through the deployed rule."""

    def strongest(self, honest: Tensor, num_byzantine: int, aggregate: Rule) -> Tensor:
        return ipm_optimal(honest, num_byzantine, aggregate, self.low, self.high, self.points)
