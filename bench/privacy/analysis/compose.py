"""Epsilon of many releases at once: every coordinate of every round counts as one.

dp-accounting is imported where it is used: it takes longer to load than the rest of the package together.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import expm1, log1p

from bench.base.errors import require
from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.analysis.local import local_epsilon

LEAST_DELTA = 1e-9
"""Below it the rounding of Fourier transforms, at most 3e-12 of probability in 61 settings, is not small beside it."""

TINY_GAMMA = 1e-300
"""Below it products of gamma vanish."""


def compose_gaussian(noise_multiplier: float, steps: int, delta: float, sampling_rate: float = 1.0) -> float:
    """Epsilon of `steps` Gaussian releases of noise standard deviation noise_multiplier * sensitivity.

    Without sampling this is exact: they are one release at noise_multiplier / sqrt(steps). With Poisson sampling it is
    an upper bound by dp-accounting's privacy loss distributions, for neighbours that add or remove one record (or
    client), on a grid of bounded size, which costs at most about 0.5 %; for delta below 1e-9, where the rounding of
    their Fourier transforms shows, by its Renyi accountant (Mironov, Talwar and Zhang 2019), which is looser. Rates
    below 1e-9 count as 1e-9, and noise multipliers below 1e-3 as if there were no sampling.
    0.0 for no steps, infinity without noise.

    Raises ValueError unless noise_multiplier is finite and not negative, steps a whole number from 0 to 10^15 (10^9
    with sampling), delta in (0, 1) and sampling_rate in (0, 1].
    """
    require(0 <= noise_multiplier < math.inf, "noise_multiplier", noise_multiplier, "a finite number of at least 0")
    require_count_and_delta("steps", steps, delta)
    require(0 < sampling_rate <= 1, "sampling_rate", sampling_rate, "in (0, 1]")
    if steps == 0:
        return 0.0
    unsampled = gaussian_epsilon(noise_multiplier / math.sqrt(steps), delta, 1.0)
    if sampling_rate == 1 or unsampled == 0 or noise_multiplier < 1e-3:
        return unsampled
    require(steps <= 10**9, "steps", steps, "at most 10^9 with a sampling_rate below 1")
    sampling_rate = max(sampling_rate, 1e-9)
    if delta < LEAST_DELTA:
        from dp_accounting import GaussianDpEvent, PoissonSampledDpEvent
        from dp_accounting.rdp import RdpAccountant

        event = PoissonSampledDpEvent(sampling_rate, GaussianDpEvent(noise_multiplier))
        orders = [*range(2, 65), 80, 96, 128, 256, 512]  # whole ones have a closed form, which always converges
        return min(unsampled, float(RdpAccountant(orders).compose(event, steps).get_epsilon(delta)))
    from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

    release = from_gaussian_mechanism(
        noise_multiplier,
        sampling_prob=sampling_rate,
        value_discretization_interval=_loss_interval(noise_multiplier, steps, sampling_rate),
    )
    # In two stages, because the library's window for a sum of many short lists is far too wide.
    stage = math.isqrt(steps)
    with np.errstate(over="ignore"):
        composed = release.self_compose(stage).self_compose(steps // stage)
        if steps % stage:
            composed = composed.compose(release.self_compose(steps % stage))
        return min(unsampled, float(composed.get_epsilon_for_delta(delta)))


def _loss_interval(noise_multiplier: float, steps: int, sampling_rate: float) -> float:
    """Grid width at which one release and 18 standard deviations of their sum both fit the grid.

    That has 30,000 points, more beyond 10^5 steps, to keep at least five of them in one release's standard deviation.
    """

    def loss(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.logaddexp(math.log1p(-sampling_rate), math.log(sampling_rate) + (x - 0.5) / noise_multiplier**2)

    nodes, weights = np.polynomial.hermite_e.hermegauss(64)
    x = noise_multiplier * nodes
    losses = loss(np.concatenate([x, x + 1]))
    probabilities = np.concatenate([(1 - sampling_rate) * weights, sampling_rate * weights]) / weights.sum()
    deviation = math.sqrt(probabilities @ (losses - probabilities @ losses) ** 2)
    one = float(np.ptp(loss(np.array([-9 * noise_multiplier, 9 * noise_multiplier + 1]))))
    width = max(one, 18 * deviation * math.sqrt(steps)) / max(3e4, 100 * math.sqrt(steps))
    return max(width, 1e-8)  # below it, the library's probabilities are rounding


def compose_local(gamma: float, releases: int, delta: float) -> float:
    """Epsilon of `releases` ternary randomized responses of one client (DPBFL paper, eq. 6, without the shuffler).

    Exact, at any count: one release loses +e, 0 or -e with e = `local_epsilon(gamma)`, so all of them lose a multiple
    of e, whose distribution is read off its generating function (the saddle-point accountant, Alghamdi et al. 2023).
    dp-accounting 0.6 is no help here: its PLDAccountant counts repeated randomized responses once, and its Fourier
    transforms lose delta = 1e-10 in rounding at 10^7 releases. 0.0 for no releases, infinity at gamma = 0.

    Raises ValueError unless gamma lies in [0, 1), releases is a whole number from 0 to 10^15 and delta lies in
    (0, 1).
    """
    from scipy.optimize import brentq  # here, because loading it takes long, and most cells need none of it

    loss = local_epsilon(gamma)
    require_count_and_delta("releases", releases, delta)
    if releases == 0 or gamma == 0:
        return 0.0 if releases == 0 else math.inf
    if gamma < TINY_GAMMA:  # all releases lose their most but for a probability that no delta can show
        return max(0.0, releases * loss + math.log1p(-delta))
    mean, deviation = releases * (1 - gamma), math.sqrt(releases * gamma * (5 / 3 - gamma))
    low, high = max(0.0, mean - 6 * deviation) * loss, (releases + 1) * loss  # delta is 1 - 1e-9 at low, 0 at high
    if _local_delta(low, gamma, releases) <= delta:
        return low

    def excess(epsilon: float) -> float:
        return _local_delta(epsilon, gamma, releases) - delta

    return min(releases * loss, brentq(excess, low, high, xtol=1e-13 * loss, rtol=1e-14, maxiter=200))


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


def require_count_and_delta(name: str, count: int, delta: float) -> None:
    """Raise ValueError unless count is whole and from 0 to 10^15, beyond which losses round, and delta in (0, 1)."""
    require(0 <= count <= 10**15 and count == math.floor(count), name, count, "a whole number from 0 to 10^15")
    require(0 < delta < 1, "delta", delta, "between 0 and 1, both excluded")
