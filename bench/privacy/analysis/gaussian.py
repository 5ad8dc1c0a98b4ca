"""The Gaussian mechanism: its noise, its delta and its epsilon, each from the other two."""

import math
from collections.abc import Callable

from scipy.special import erfcx, ndtr

from bench.base.errors import require

_FINITE = "a finite number above 0"


def gaussian_sigma(epsilon: float, delta: float, sensitivity: float, analytic: bool = True) -> float:
    """Standard deviation of the noise that makes a query of this L2 sensitivity (epsilon, delta)-private.

    `analytic` solves the exact condition (Balle and Wang 2018, Theorem 8) and holds for every epsilon. Otherwise
    sqrt(2 ln(1.25 / delta)) * sensitivity / epsilon (NISS paper, Theorem 1), which is proved for epsilon < 1 only: at
    epsilon = 10, delta = 1e-4 it is 4.6 % too small. Sigma has the sensitivity's unit.

    Raises ValueError unless epsilon and sensitivity are finite and above 0 and delta lies in (0, 1).
    """
    require(0 < epsilon < math.inf, "epsilon", epsilon, _FINITE)
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
    require(0 < sensitivity < math.inf, "sensitivity", sensitivity, _FINITE)
    if not analytic:
        return math.sqrt(2 * math.log(1.25 / delta)) * sensitivity / epsilon

    def excess(log_ratio: float) -> float:
        return _delta(epsilon, math.exp(log_ratio)) - delta

    low = high = 0.0
    while excess(low) > 0:
        low -= 1
    while excess(high) < 0:
        high += 1
    return sensitivity / math.exp(_root(excess, low, high))


def gaussian_delta(epsilon: float, sigma: float, sensitivity: float) -> float:
    """Smallest delta at which noise of standard deviation sigma is (epsilon, delta)-private; 1.0 at sigma = 0.

    Balle and Wang 2018, Theorem 8: Phi(D/2s - es/D) - exp(e) Phi(-D/2s - es/D), D the L2 sensitivity and s sigma.
    Raises ValueError unless epsilon and sigma are finite and not negative and sensitivity is finite and above 0.
    """
    require(0 <= epsilon < math.inf, "epsilon", epsilon, "a finite number of at least 0")
    require(0 <= sigma < math.inf, "sigma", sigma, "a finite number of at least 0")
    require(0 < sensitivity < math.inf, "sensitivity", sensitivity, _FINITE)
    return 1.0 if sigma == 0 else _delta(epsilon, sensitivity / sigma)


def gaussian_epsilon(sigma: float, delta: float, sensitivity: float) -> float:
    """Smallest epsilon at which noise of standard deviation sigma is (epsilon, delta)-private.

    Inverse of `gaussian_delta`: 0.0 where that is at most delta already at epsilon = 0, infinity at sigma = 0.
    Raises ValueError unless sigma is finite and not negative, delta in (0, 1), sensitivity finite and above 0.
    """
    require(0 <= sigma < math.inf, "sigma", sigma, "a finite number of at least 0")
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
    require(0 < sensitivity < math.inf, "sensitivity", sensitivity, _FINITE)
    ratio = sensitivity / sigma if sigma else math.inf
    # Zero-concentrated privacy bounds the root from above (Bun and Steinke 2016, Propositions 1.3 and 1.6).
    high = ratio * (ratio / 2 + math.sqrt(-2 * math.log(delta))) * (1 + 1e-9)
    if math.isinf(high):
        return math.inf
    if _delta(0.0, ratio) <= delta:
        return 0.0
    return _root(lambda epsilon: _delta(epsilon, ratio) - delta, 0.0, high)


def _root(excess: Callable[[float], float], low: float, high: float) -> float:
    from scipy.optimize import brentq  # here, because loading it takes long, and most cells need none of it

    return float(brentq(excess, low, high, xtol=1e-15, rtol=1e-14))


def _delta(epsilon: float, ratio: float) -> float:
    """Theorem 8 of Balle and Wang for ratio = sensitivity / sigma."""
    if ratio == 0:
        return 0.0
    above, below = ratio / 2 - epsilon / ratio, -ratio / 2 - epsilon / ratio
    # exp(epsilon) phi(below) = phi(above), so that erfcx takes the place of a product that over- and underflows.
    scale = math.exp(-above * above / 2) / 2
    if above > 0:
        return float(ndtr(above) - scale * erfcx(-below / math.sqrt(2)))
    return scale * float(erfcx(-above / math.sqrt(2)) - erfcx(-below / math.sqrt(2)))
