"""DPBFL's shuffled ternary randomized response (Ma et al., section 4.3): what its theorems claim.

gamma is the probability that a client sends a uniformly random sign from {-1, 0, 1} instead of its own. Every epsilon
here is for one coordinate in one round, with n clients that randomize honestly, and natural logarithms.
"""

import math
import sys

from bench.base.errors import require

_DELTA_LIMIT = 2 * math.exp(-27 / 14)  # above it, 81 / ((n - 1) epsilon) is the larger term of Theorem 1


def shuffle_epsilon(n: int, gamma: float, delta: float) -> float:
    """Epsilon of Corollary 1: sqrt(42 ln(2 / delta) / ((n - 1) gamma)).

    The formula's value also where its proof does not reach (epsilon >= 1): see `shuffle_claim_conditions`.
    Raises ValueError unless n >= 2 and gamma and delta lie in (0, 1).
    """
    _require_clients_and_delta(n, delta)
    require(0 < gamma < 1, "gamma", gamma, "between 0 and 1, both excluded")
    return _epsilon(n, gamma, delta)


def shuffle_gamma(n: int, epsilon: float, delta: float) -> float:
    """Gamma of Corollary 1: 42 ln(2 / delta) / ((n - 1) epsilon^2), the inverse of `shuffle_epsilon`.

    Raises ValueError unless n >= 2, epsilon is finite and above 0, delta lies in (0, 1), and the result is below 1.
    """
    _require_clients_and_delta(n, delta)
    require(0 < epsilon < math.inf, "epsilon", epsilon, "a finite number above 0")
    gamma = _over_square(42 * math.log(2 / delta) / (n - 1), epsilon)
    return _feasible(gamma, _epsilon(n, 1.0, delta), n, epsilon, delta)


def theorem1_gamma(n: int, epsilon: float, delta: float) -> float:
    """Gamma of Theorem 1: max(42 ln(2 / delta) / ((n - 1) epsilon^2), 81 / ((n - 1) epsilon)).

    Raises ValueError unless n >= 2, epsilon and delta lie in (0, 1), and the result is below 1.
    """
    _require_clients_and_delta(n, delta)
    require(0 < epsilon < 1, "epsilon", epsilon, "between 0 and 1, both excluded")
    gamma = max(_over_square(42 * math.log(2 / delta) / (n - 1), epsilon), 81 / (n - 1) / epsilon)
    return _feasible(gamma, max(_epsilon(n, 1.0, delta), 81 / (n - 1)), n, epsilon, delta)


def shuffle_claim_conditions(n: int, gamma: float, delta: float) -> str | None:
    """None where Corollary 1 proves what `shuffle_epsilon` returns, else one sentence with the conditions it misses.

    The conditions are 0 < gamma < 1, epsilon < 1 and delta < 2 exp(-27 / 14); each comes with what would meet it: for
    epsilon the gamma at this n or, where no gamma does, the n at this gamma.
    Raises ValueError unless n >= 2, gamma lies in [0, 1] and delta in (0, 1).
    """
    _require_clients_and_delta(n, delta)
    require(0 <= gamma <= 1, "gamma", gamma, "between 0 and 1")
    missed = []
    if not 0 < gamma < 1:
        missed.append(f"needs 0 < gamma < 1: gamma is {gamma:.4g}")
    elif _epsilon(n, gamma, delta) >= 1:
        result = f"and gamma = {gamma:.4g} gives {_epsilon(n, gamma, delta):.4g}"
        needed = 42 * math.log(2 / delta) / (n - 1)  # gamma at epsilon = 1
        instead = f"gamma would be {needed:.4g} at n = {n}" if needed < 1 else f"n would be {_clients(gamma, delta):,}"
        missed.append(f"needs epsilon < 1: {instead}, {result}")
    if delta >= _DELTA_LIMIT:
        missed.append(f"needs delta < 2 exp(-27/14) = {_DELTA_LIMIT:.4g}: delta is {delta:.4g}")
    return "; ".join(missed) or None


def robustness_bound(gamma: float) -> float:
    """Byzantine fraction below which the global model converges (Definition 2): 1 - 1 / (2 - gamma).

    Raises ValueError unless gamma lies in [0, 1).
    """
    require(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")
    return 1 - 1 / (2 - gamma)


def minimum_shuffle_epsilon(n: int, byzantine_fraction: float, delta: float) -> float:
    """Table 3: Corollary 1 at the gamma whose `robustness_bound` is the Byzantine fraction, 2 - 1 / (1 - b).

    It is an infimum and not attained: Definition 2 asks for a fraction strictly below the bound (errata D2).
    Raises ValueError unless n >= 2, the fraction lies in [0, 0.5) and delta in (0, 1).
    """
    _require_clients_and_delta(n, delta)
    require(0 <= byzantine_fraction < 0.5, "byzantine_fraction", byzantine_fraction, "in [0, 0.5)")
    return _epsilon(n, 2 - 1 / (1 - byzantine_fraction), delta)


def analyzer_variance(n: int, nonzero: int, gamma: float) -> float:
    """Exact variance of the analyzer's sum (eq. 7) when `nonzero` of the n honest signs are not 0 (errata D10).

    [(1 - g) nonzero + (2 g / 3) n - (1 - g)^2 nonzero] / (1 - g)^2, the mean squared error that Theorem 2 bounds.
    Raises ValueError unless 0 <= nonzero <= n and gamma lies in [0, 1).
    """
    require(n >= 0, "n", n, "a count of at least 0")
    require(0 <= nonzero <= n, "nonzero", nonzero, f"a count between 0 and n = {n}")
    require(0 <= gamma < 1, "gamma", gamma, "in [0, 1)")
    keep = 1 - gamma
    return (keep * gamma * nonzero + 2 * gamma / 3 * n) / keep**2


def _over_square(numerator: float, epsilon: float) -> float:
    """`numerator / epsilon^2`, also where the square would overflow or vanish."""
    return numerator / epsilon**2 if 1e-150 < epsilon < 1e150 else numerator / epsilon / epsilon


def _clients(gamma: float, delta: float) -> int:
    """Fewest clients at which Corollary 1 gives this gamma an epsilon below 1."""
    return math.floor(min(42 * math.log(2 / delta) / gamma, sys.float_info.max)) + 2


def _epsilon(n: int, gamma: float, delta: float) -> float:
    return math.sqrt(42 * math.log(2 / delta) / ((n - 1) * gamma))


def _feasible(gamma: float, infimum: float, n: int, epsilon: float, delta: float) -> float:
    where = f"n = {n}, delta = {delta:.4g}"
    require(gamma < 1, "epsilon", epsilon, f"above {infimum:.6g} at {where}: gamma would be {gamma:.6g}, not below 1")
    return gamma


def _require_clients_and_delta(n: int, delta: float) -> None:
    require(n >= 2, "n", n, "a number of clients of at least 2")
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
