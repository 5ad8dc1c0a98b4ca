"""Inner product manipulation (Xie et al. 2020): minus epsilon times the honest mean.

A rule whose output has a negative inner product with the true gradient no longer descends; small epsilon hides among
the honest messages, large epsilon carries a mean off.
"""

from pydantic import Field
from torch import Tensor

from bench.attacking.forging import check_honest, copies, fit, in_range, mean_row
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def ipm(honest: Tensor, num_byzantine: int, epsilon: float = 0.5) -> Tensor:
    """`num_byzantine` rows `(f, d)`, all -epsilon times the mean of `honest (h, d)`."""
    check_honest(honest, num_byzantine)
    require(0 < epsilon < float("inf"), "epsilon", epsilon, "positive and finite")
    return copies(in_range(mean_row(honest).mul_(-epsilon)), num_byzantine)


@register("attack", "ipm")
class IPM(ByzantineAttack):
    """Omniscient; in a ternary alphabet every vote against the sign of the honest sum."""

    omniscient = True

    epsilon: float = Field(default=0.5, gt=0)

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(ipm(view.honest, len(view.own), self.epsilon), view.alphabet)
