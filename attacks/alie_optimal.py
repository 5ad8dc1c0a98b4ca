"""ALIE with the factor that harms the deployed rule most (Allouah et al. 2023, "Fixing by mixing").

z is searched on a line against the server's own rule, with the honest messages of the round: what counts is how far the
rule's output moves from the honest mean.

The authors' library (ByzFL, `attacks.py`) forges gradients, mean + tau sigma with tau from 0 on, which the server
subtracts: the other way from Baruch et al. An update is minus a gradient: it is mean - z sigma here, `sign="plus"` is
the other one, and `sign="both"` searches both lines.
"""

from typing import ClassVar, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import (
    SIGNS,
    FactorSearch,
    Rule,
    Sign,
    check_honest,
    check_number,
    check_sign,
    copies,
    deviation,
    in_range,
    moments,
    most_harmful,
)
from bench.registry import register

Side = Literal["minus", "plus", "both"]
"""Which of the two lines from the honest mean is searched."""


def alie_optimal(
    honest: Tensor,
    num_byzantine: int,
    aggregate: Rule,
    low: float = 0.1,
    high: float = 100.0,
    points: int = 10,
    ddof: int = 0,
    *,
    sign: Side = "minus",
) -> Tensor:
    """`num_byzantine` rows `(f, d)`, mean - z sigma with z from `low` to `high`, in 2 `points` evaluations.

    `sign` is that of sigma; with `both` each has its own search, and the more harmful of their two ends is taken.
    """
    check_honest(honest, num_byzantine)
    check_number("high", high, honest.dtype)
    check_sign(sign, "both")
    mean, std = moments(honest, ddof)

    def along(side: Sign) -> Tensor:
        def forged(z: float) -> Tensor:
            return copies(in_range(torch.add(mean, std, alpha=z * SIGNS[side])), num_byzantine)

        return most_harmful(forged, honest, aggregate, low, high, points)

    if sign != "both":
        return along(sign)
    return max((along(side) for side in get_args(Sign)), key=deviation(aggregate, honest))


@register("attack", "alie_optimal")
class OptimalALIE(FactorSearch):
    """Omniscient, and plays each candidate through the deployed rule."""

    version: ClassVar[int] = 2  # 1 searched plus sigma where it searches minus now

    ddof: int = Field(default=0, ge=0, le=1)
    sign: Side = "minus"

    def strongest(self, honest: Tensor, num_byzantine: int, aggregate: Rule) -> Tensor:
        line = (self.low, self.high, self.points)
        return alie_optimal(honest, num_byzantine, aggregate, *line, self.ddof, sign=self.sign)
