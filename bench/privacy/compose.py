"""Epsilon of many releases at once: every coordinate of every round counts as one.

dp-accounting is imported where it is used: it takes longer to load than the rest of the package together.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq, minimize_scalar
from scipy.special import expm1, log1p
from scipy.stats import binom

from bench.errors import require
from bench.privacy.gaussian import gaussian_epsilon
from bench.privacy.local import local_epsilon

_Array = NDArray[np.float64]
_Counts = NDArray[np.int64]


def compose_gaussian(noise_multiplier: float, steps: int, delta: float, sampling_rate: float = 1.0) -> float:
    """Epsilon of `steps` Gaussian releases of noise standard deviation noise_multiplier * sensitivity.

    Without sampling this is exact: they are one release at noise_multiplier / sqrt(steps). With Poisson sampling it is
    dp-accounting's upper bound from privacy loss distributions, for neighbours that add or remove one record (or
    client). 0.0 for no steps, infinity without noise.

    Raises ValueError unless noise_multiplier is finite and not negative, steps a whole number of at least 0, delta in
    (0, 1) and sampling_rate in (0, 1].
    """
    require(0 <= noise_multiplier < math.inf, "noise_multiplier", noise_multiplier, "a finite number of at least 0")
    _require_count_and_delta("steps", steps, delta)
    require(0 < sampling_rate <= 1, "sampling_rate", sampling_rate, "in (0, 1]")
    if steps == 0:
        return 0.0
    if sampling_rate == 1 or noise_multiplier == 0:
        return gaussian_epsilon(noise_multiplier / math.sqrt(steps), delta, 1.0)
    from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
    from dp_accounting.pld import PLDAccountant

    accountant = PLDAccountant()
    accountant.compose(PoissonSampledDpEvent(sampling_rate, GaussianDpEvent(noise_multiplier)), steps)
    return float(accountant.get_epsilon(delta))


def compose_local(gamma: float, releases: int, delta: float) -> float:
    """Epsilon of `releases` ternary randomized responses of one client (DPBFL paper, eq. 6, without the shuffler).

    Exact, at any count: one release loses +e, 0 or -e with e = `local_epsilon(gamma)`, so all of them lose a multiple
    of e, whose distribution is read off its generating function (the saddle-point accountant, Alghamdi et al. 2023).
    dp-accounting 0.6 is no help here: its PLDAccountant counts repeated randomized responses once, and its Fourier
    transforms lose delta = 1e-10 in rounding at 10^7 releases. 0.0 for no releases, infinity at gamma = 0.

    Raises ValueError unless gamma lies in [0, 1), releases is a whole number of at least 0 and delta lies in (0, 1).
    """
    loss = local_epsilon(gamma)
    _require_count_and_delta("releases", releases, delta)
    if releases == 0 or gamma == 0:
        return 0.0 if releases == 0 else math.inf
    mean, deviation = releases * (1 - gamma), math.sqrt(releases * gamma * (5 / 3 - gamma))
    low, high = max(0.0, mean - 6 * deviation) * loss, (releases + 1) * loss  # delta is 1 - 1e-9 at low, 0 at high
    if _local_delta(low, gamma, releases) <= delta:
        return low

    def excess(epsilon: float) -> float:
        return _local_delta(epsilon, gamma, releases) - delta

    return float(brentq(excess, low, high, xtol=1e-13 * loss, rtol=1e-14, maxiter=200))


def _local_delta(epsilon: float, gamma: float, releases: int) -> float:
    """E[max(0, 1 - exp(epsilon - loss))], by the inversion formula for sums on a lattice."""
    step, noise, keep = local_epsilon(gamma), gamma / 3, 1 - 2 * gamma / 3
    first = math.floor(epsilon / step) + 1  # the first multiple of the step above epsilon
    if first > releases:
        return 0.0
    gap = min(max(first * step - epsilon, 0.0), step)

    # Any shift > 0 of the contour gives the same integral; the saddle point of the tail keeps the rounding relative.
    share = min(first / releases, 1 - 1e-15)
    root = math.sqrt((noise * share) ** 2 + 4 * keep * noise * (1 - share) * (1 + share))
    shift = math.log((noise * share + root) / (2 * keep * (1 - share)))
    shift = min(max(shift, 1 / math.sqrt(releases * gamma * (5 / 3 - gamma))), 30.0)
    once, twice = noise * math.exp(-shift), noise * math.exp(-2 * shift)
    total = keep + once + twice
    variance = releases * ((once + 4 * twice) / total - ((once + 2 * twice) / total) ** 2)
    width = min(math.pi, 12 / math.sqrt(variance)) if variance > 0 else math.pi
    w = shift + 1j * width * (2 * np.arange(1024) + 1 - 1024) / 1024

    # log E[exp(w loss / step)] - w, in terms of 1 - exp(-w): exact to rounding where w is small and releases are many.
    power = releases * log1p(noise * (expm1(-w) + expm1(-2 * w))) + (releases - first) * w
    payoff = (-math.expm1(-gap) - np.exp(-w - gap) * math.expm1(gap - step)) / (expm1(-w) * expm1(-w - step))
    return float(np.mean(np.exp(power) * payoff).real * width / math.pi)


def compose_shuffle(n: int, gamma: float, releases: int, delta: float) -> float:
    """Epsilon of `releases` coordinates that n honest clients randomize and a shuffler permutes one by one.

    An upper bound against a server that knows every other client's sign and who sent a random one: what hides the
    client's sign is the histogram of the others' random signs (Y_1 of the DPBFL paper's section 4.3; the privacy
    blanket of Balle et al. 2019). Its Renyi divergence is summed on a grid, and turned into epsilon by Canonne et al.
    2020, Proposition 12; never above `compose_local`. It rests on no condition of Corollary 1. 0.0 for no releases,
    infinity at gamma = 0.

    Raises ValueError unless n is at least 1, gamma lies in [0, 1), releases is a whole number of at least 0 and delta
    lies in (0, 1).
    """
    require(n >= 1, "n", n, "a number of clients of at least 1")
    local = compose_local(gamma, releases, delta)
    if releases == 0 or gamma == 0 or n == 1:
        return local
    weight, loss = _blanket_losses(n, gamma)

    def epsilon(log_order: float) -> float:
        order = math.exp(log_order)  # of the Renyi divergence, less 1
        divergence = releases * math.log1p(float(weight @ np.expm1(order * loss))) / order
        return divergence - (math.log(delta) + math.log1p(order)) / order - math.log1p(1 / order)

    # The largest order keeps exp finite; it is beyond every minimum that is below the local bound.
    found = minimize_scalar(epsilon, bounds=(-20.0, math.log(600 / loss.max())), method="bounded")
    return max(0.0, min(local, float(found.fun)))


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
    """Counts within `reach` standard deviations, and their log probabilities; every second deviation's half is enough.

    Sums of smooth functions against a bell curve are exact to rounding at a stride of half its standard deviation.
    """
    deviation = np.sqrt(trials * probability * (1 - probability))
    stride = np.maximum(1, np.rint(deviation / 2)).astype(np.int64)
    half = math.ceil(reach * float(np.max(deviation / stride))) + 1
    offsets = stride[..., None] * np.arange(-half, half + 1)
    counts = np.rint(trials * probability).astype(np.int64)[..., None] + offsets
    return counts, binom.logpmf(counts, trials[..., None], probability) + np.log(stride)[..., None]


def _require_count_and_delta(name: str, count: int, delta: float) -> None:
    require(0 <= count <= 10**15 and count == math.floor(count), name, count, "a whole number from 0 to 10^15")
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
