"""Composition of shuffled releases: what the random signs of the other clients hide, round after round."""

import math

import numpy as np
from numpy.typing import NDArray

from bench.base.errors import require
from bench.privacy.analysis.compose import TINY_GAMMA, compose_local

_Array = NDArray[np.float64]
_Counts = NDArray[np.int64]


def compose_shuffle(n: int, gamma: float, releases: int, delta: float) -> float:
    """Epsilon of `releases` coordinates that n honest clients randomize and a shuffler permutes one by one.

    An upper bound against a server that knows every other client's sign and who sent a random one: what hides the
    client's sign is the histogram of the others' random signs (Y_1 of the DPBFL paper's section 4.3; the privacy
    blanket of Balle et al. 2019). Its Renyi divergence is summed on a grid, and turned into epsilon by Canonne et al.
    2020, Proposition 12; never above `compose_local`. It rests on no condition of Corollary 1. 0.0 for no releases,
    infinity at gamma = 0.

    Raises ValueError unless n is at least 1, gamma lies in [0, 1), releases is a whole number from 0 to 10^15 and
    delta lies in (0, 1).
    """
    from scipy.optimize import minimize_scalar  # here, because loading it takes long, and most cells need none of it

    require(1 <= n < math.inf and n == math.floor(n), "n", n, "a whole number of clients of at least 1")
    local = compose_local(gamma, releases, delta)
    if releases == 0 or gamma < TINY_GAMMA or n == 1:
        return local
    weight, loss = _blanket_losses(n, gamma)

    def epsilon(log_order: float) -> float:
        order = math.exp(log_order)  # of the Renyi divergence, less 1
        divergence = releases * math.log1p(float(weight @ np.expm1(order * loss))) / order
        return divergence - (math.log(delta) + math.log1p(order)) / order - math.log1p(1 / order)

    # Every order gives a bound; the largest keeps exp finite.
    result = minimize_scalar(epsilon, bounds=(-40.0, math.log(600 / loss.max())), method="bounded")
    return max(0.0, min(local, float(result.fun)))


def _blanket_losses(n: int, gamma: float) -> tuple[_Array, _Array]:
    """Probabilities and losses of one shuffled release, over the counts of random signs and two of their values.

    With m random signs from the others the histogram h has m + 1 entries, and a client of sign x gives it probability
    proportional to multinomial(h) * ((1 - gamma) h_x + gamma (m + 1) / 3).
    """
    random_signs, log_random = _binomial_grid(np.array(n - 1), gamma, 9)
    total = random_signs[random_signs >= 0] + 1
    same, log_same = _binomial_grid(total, 1 / 3, 16)
    other, log_other = _binomial_grid(np.maximum(total[:, None] - same, 0), 1 / 2, 16)
    total = total[:, None, None]
    here = (1 - gamma) * same[..., None] + gamma / 3 * total
    there = (1 - gamma) * other + gamma / 3 * total
    log_weight = log_random[random_signs >= 0][:, None, None] + log_same[..., None] + log_other
    inside = np.isfinite(log_weight)
    here, there = np.broadcast_to(here, inside.shape)[inside], there[inside]
    weight = np.exp(log_weight[inside]) * here / np.broadcast_to(total, inside.shape)[inside]
    return weight / weight.sum(), np.log(here / there)


def _binomial_grid(trials: _Counts, probability: float, reach: int) -> tuple[_Counts, _Array]:
    """Counts within `reach` standard deviations of the mean at a stride of about half of one, and log probabilities.

    Sums of smooth functions against a bell curve are exact to rounding at that stride.
    """
    from scipy.stats import binom  # here, for the same reason

    deviation = np.sqrt(trials * probability * (1 - probability))
    stride = np.maximum(1, np.rint(deviation / 2)).astype(np.int64)
    half = math.ceil(reach * float(np.max(deviation / stride))) + 1
    offsets = stride[..., None] * np.arange(-half, half + 1)
    counts = np.rint(trials * probability).astype(np.int64)[..., None] + offsets
    return counts, binom.logpmf(counts, trials[..., None], probability) + np.log(stride)[..., None]
