"""NISS: how much of the shared noise is left for the server, and for a server with colluding clients.

sigma_squared is the variance of a client's noise, tau_squared the variance of the factor s ~ N(1, tau^2) that a
receiver applies to a share, rho the fraction of its peers that collude. Each is a client's value or an array of them.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaincinv

from bench.base.errors import require

Values = float | NDArray[np.float64]


def niss_aggregate_variance(sigma_squared: ArrayLike, tau_squared: ArrayLike) -> float:
    """Variance of the sum of all uploads' noise, one coordinate (Theorem 2): sum over clients of sigma_k^2 tau_k^2.

    Exact for regular exchanges in which sigma or tau is common to all; otherwise tau_k^2 must be the mean over the
    receivers of client k's shares (errata N8). Raises ValueError for a negative or not finite value.
    """
    sigma, tau = _fitting(_variances("sigma_squared", sigma_squared), _variances("tau_squared", tau_squared))
    return float(np.sum(sigma * tau))


def niss_collusion_variance(sigma_squared: ArrayLike, tau_squared: ArrayLike, rho: ArrayLike) -> Values:
    """Variance of the noise left in an upload when a fraction rho of the client's peers collude with the server.

    (1 - rho)(tau^2 + 2) sigma^2 + tau^2 rho sigma^2: Theorem 3's left side with eq. 8 corrected (errata N5). It is
    the mean over coordinates, for factors drawn per coordinate and honest-but-curious colluders (errata N4).
    Raises ValueError for a negative or not finite variance, or rho outside [0, 1].
    """
    sigma, tau, colluding = _fitting(
        _variances("sigma_squared", sigma_squared), _variances("tau_squared", tau_squared), _fractions(rho)
    )
    return _as_given(sigma * ((1 - colluding) * (tau + 2) + colluding * tau))


def niss_min_tau_squared(rho: ArrayLike) -> Values:
    """Smallest tau^2 at which collusion leaves the client's full variance (Theorem 3): max(0, 2 rho - 1).

    For factors drawn per coordinate. Raises ValueError for rho outside [0, 1].
    """
    return _as_given(np.maximum(0.0, 2 * _fractions(rho) - 1))


def niss_min_tau_squared_scalar(rho: ArrayLike) -> Values:
    """The same for one scalar factor a share: max(0, (2 rho - 1) / (1 - rho)), infinite at rho = 1 (errata N3).

    Colluders then project their shares away, and only (1 - rho)(2 + tau^2) sigma^2 remains. Holds for far more
    coordinates than shares. Raises ValueError for rho outside [0, 1].
    """
    colluding = _fractions(rho)
    with np.errstate(divide="ignore"):
        return _as_given(np.maximum(0.0, (2 * colluding - 1) / (1 - colluding)))


def niss_max_colluders(tau_squared: ArrayLike) -> Values:
    """Largest rho at which collusion leaves the client's full variance (Theorem 3): min(1, (1 + tau^2) / 2).

    Inverse of `niss_min_tau_squared`, on average over coordinates (errata N4). Raises ValueError for a negative or not
    finite value.
    """
    return _as_given(np.minimum(1.0, (1 + _variances("tau_squared", tau_squared)) / 2))


def niss_max_colluders_scalar(tau_squared: ArrayLike) -> Values:
    """The same for one scalar factor a share: (1 + tau^2) / (2 + tau^2), always below 1 (errata N3).

    Inverse of `niss_min_tau_squared_scalar`. Raises ValueError for a negative or not finite value.
    """
    tau = _variances("tau_squared", tau_squared)
    return _as_given((1 + tau) / (2 + tau))


def niss_worst_coordinate(tau_squared: float, rho: float, num_shares: int, dim: int) -> float:
    """Noise that is left in about the worst of `dim` coordinates, as a share of sigma^2: its quantile 1 / (dim + 1).

    That is where the least of `dim` draws lies on average: the distribution function at it is the least of as many
    uniform draws, Beta(1, dim), whose mean it is (David and Nagaraja 2003, "Order Statistics"). Of one coordinate it is
    the median.

    Theorem 3 takes the mean over the shares that colluders sent. They know them: given these, a coordinate keeps
    (1 - rho)(2 + tau^2) sigma^2, and tau^2 times the squares of rho v known shares, which are sigma^2 / v times
    chi-squared with rho v degrees of freedom (errata N4). For factors drawn per coordinate and curious colluders.
    Raises ValueError unless tau_squared is finite and at least 0, rho in [0, 1], num_shares and dim at least 1.
    """
    tau, colluding = float(_variances("tau_squared", tau_squared)), float(_fractions(rho))
    require(num_shares >= 1, "num_shares", num_shares, "a count of at least 1")
    require(dim >= 1, "dim", dim, "a count of at least 1")
    known = colluding * num_shares
    if tau == 0 or known < 1e-300:  # nothing is scaled, or nothing is known: the quantile would be no number
        return (1 - colluding) * (2 + tau)
    squares = 2 * float(gammaincinv(known / 2, 1 / (dim + 1))) / num_shares
    return (1 - colluding) * (2 + tau) + tau * squares


def _variances(name: str, values: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(values, dtype=np.float64)
    require(bool(np.all((array >= 0) & np.isfinite(array))), name, values, "finite and at least 0")
    return array


def _fitting(*arrays: NDArray[np.float64]) -> tuple[NDArray[np.float64], ...]:
    """The arrays, if numpy can broadcast them to one shape."""
    shapes = [array.shape for array in arrays]
    try:
        np.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(f"the shapes of sigma_squared, tau_squared, rho are {shapes}, but must be alike") from None
    return arrays


def _fractions(rho: ArrayLike) -> NDArray[np.float64]:
    array = np.asarray(rho, dtype=np.float64)
    require(bool(np.all((array >= 0) & (array <= 1))), "rho", rho, "between 0 and 1")
    return array


def _as_given(result: NDArray[np.float64]) -> Values:
    return float(result) if np.ndim(result) == 0 else result
