"""Ternary randomized response without a shuffler (DPBFL paper, Theorem 4): LDPBFL's claim for one coordinate."""

import math

from bench.base.errors import require


def local_epsilon(gamma: float) -> float:
    """Local epsilon of one ternary randomized response: ln((1 - 2 gamma / 3) / (gamma / 3)); infinity at gamma = 0.

    Raises ValueError unless gamma lies in [0, 1).
    """
    require(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")
    if gamma < 1e-300:  # the quotient would overflow
        return math.log(3) - math.log(gamma) if gamma else math.inf
    return math.log1p(3 * (1 - gamma) / gamma)


def gamma_for_local_epsilon(epsilon: float) -> float:
    """Gamma whose `local_epsilon` is epsilon: 3 / (exp(epsilon) + 2); 0.0 at infinity.

    Raises ValueError unless epsilon is above 0.
    """
    require(epsilon > 0, "epsilon", epsilon, "above 0")
    decay = math.exp(-epsilon)  # exp(epsilon) would overflow at 710
    return 3 * decay / (1 + 2 * decay)
