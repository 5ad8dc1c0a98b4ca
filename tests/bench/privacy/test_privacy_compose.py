"""Composition against exact convolutions, closed forms, dp-accounting's accountants and published settings."""

import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant, pld_pmf
from dp_accounting.pld.privacy_loss_distribution import PrivacyLossDistribution
from dp_accounting.rdp import RdpAccountant
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from bench.privacy.analysis.compose import compose_gaussian, compose_local
from bench.privacy.analysis.gaussian import gaussian_epsilon, gaussian_sigma
from bench.privacy.analysis.local import local_epsilon

DP_SGD = dp_accounting.PoissonSampledDpEvent(256 / 60000, dp_accounting.GaussianDpEvent(1.1))


def subsampled_delta(epsilon: float, sigma: float, rate: float) -> float:
    """Exact delta of one Poisson-sampled Gaussian release, the worse of adding and removing a record."""

    def crossing(ratio: float) -> float:  # where the mixture is `ratio` times as likely as the noise alone
        return sigma**2 * math.log((ratio - 1 + rate) / rate) + 0.5 if ratio > 1 - rate else -math.inf

    def mixture(x: float) -> float:
        return (1 - rate) * norm.cdf(x / sigma) + rate * norm.cdf((x - 1) / sigma)

    remove, add = crossing(math.exp(epsilon)), crossing(math.exp(-epsilon))
    removed = 1 - mixture(remove) - math.exp(epsilon) * norm.sf(remove / sigma)
    return max(removed, norm.cdf(add / sigma) - math.exp(epsilon) * mixture(add))


def ternary_losses(gamma: float, doublings: int) -> tuple[np.ndarray, np.ndarray]:
    """Losses and probabilities of 2^doublings responses, by plain convolutions, which lose nothing in small tails."""
    probabilities = np.array([gamma / 3, gamma / 3, 1 - 2 * gamma / 3])
    for _ in range(doublings):
        probabilities = np.convolve(probabilities, probabilities)
    count = 2**doublings
    return local_epsilon(gamma) * np.arange(-count, count + 1), probabilities


def test_errata_n14() -> None:
    sigma = gaussian_sigma(10, 1e-4, 1)
    found = [compose_gaussian(sigma, steps, 1e-4) for steps in (1, 10, 30, 60, 100)]
    assert found == pytest.approx([10, 49, 116, 207, 322], abs=0.5)


@pytest.mark.parametrize(("noise", "steps"), [(1.0, 1), (5.0, 30), (20.0, 1000)])
def test_unsampled_gaussians_are_dp_accountings(noise: float, steps: int) -> None:
    accountant = PLDAccountant().compose(dp_accounting.GaussianDpEvent(noise), steps)
    assert compose_gaussian(noise, steps, 1e-5) == pytest.approx(accountant.get_epsilon(1e-5), rel=1e-3)


@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.5), (0.6, 0.01), (3.0, 0.9), (0.2, 0.1)])
def test_one_sampled_release_is_tightly_above_the_closed_form(noise: float, rate: float) -> None:
    found = compose_gaussian(noise, 1, 1e-5, rate)
    assert subsampled_delta(found, noise, rate) <= 1e-5 * (1 + 1e-6)
    assert subsampled_delta(found * 0.999, noise, rate) > 1e-5


@pytest.mark.parametrize("steps", [2, 3, 7, 15])
def test_a_few_sampled_releases_are_dp_accountings(steps: int) -> None:
    event = dp_accounting.PoissonSampledDpEvent(0.3, dp_accounting.GaussianDpEvent(4.0))
    reference = PLDAccountant().compose(event, steps).get_epsilon(1e-5)
    assert compose_gaussian(4, steps, 1e-5, 0.3) == pytest.approx(reference, rel=1e-3)


def test_dp_sgd_on_mnist() -> None:
    """60 epochs at batch 256, noise 1.1, against dp-accounting's finest grid and its Renyi bound."""
    found = compose_gaussian(1.1, 14062, 1e-5, 256 / 60000)
    assert found == pytest.approx(PLDAccountant().compose(DP_SGD, 14062).get_epsilon(1e-5), rel=1e-3)
    assert found < RdpAccountant().compose(DP_SGD, 14062).get_epsilon(1e-5)


def test_dp_sgd_of_bu_et_al() -> None:
    """Bu et al. 2020, figure 4: the moments accountant, an upper bound, gives 1.34 after 20 epochs at noise 1.3."""
    assert 1.0 < compose_gaussian(1.3, 20 * 60000 // 256, 1e-5, 256 / 60000) < 1.34


def test_a_million_sampled_steps_cost_half_a_percent() -> None:
    """139.031 is dp-accounting 0.6 at its default interval 1e-4, after 2 s."""
    assert compose_gaussian(1, 10**6, 1e-5, 0.01) == pytest.approx(139.031, rel=5e-3)


def test_at_a_small_delta_too_it_is_an_upper_bound() -> None:
    """.98426 is true; Fourier transforms of the loss distributions gave .96829; the Renyi accountant gives 2.228."""
    found = compose_gaussian(0.86176312, 16_987, 1.06e-11, 3.502676e-4)
    assert 0.98426 < found < compose_gaussian(0.86176312, 16_987, 1.06e-11)


@pytest.mark.parametrize("delta", [1e-9, 1e-10, 1e-12, 1e-15])
@pytest.mark.parametrize(("noise", "rate"), [(1.0, 0.5), (0.6, 0.01), (3.0, 0.9)])
def test_so_it_is_for_one_release_by_the_closed_form(noise: float, rate: float, delta: float) -> None:
    found = compose_gaussian(noise, 1, delta, rate)
    assert subsampled_delta(found, noise, rate) <= delta * (1 + 1e-6)


@given(st.floats(0.5, 4), st.integers(1, 20_000), st.floats(1e-4, 0.3))
@settings(max_examples=10, deadline=None)
def test_epsilon_rises_as_delta_falls_through_the_change_of_accountant(noise: float, steps: int, rate: float) -> None:
    found = [compose_gaussian(noise, steps, delta, rate) for delta in (1e-8, 1e-9, 9e-10, 1e-11, 1e-13)]
    assert found == sorted(found)


@pytest.mark.parametrize(
    ("noise", "steps", "rate"),
    [(1e4, 10**7, 0.5), (0.05, 100, 1 - 1e-12), (0.01, 10**4, 0.9), (3, 7, 1e-12), (1e-4, 9, 0.5)],
)
def test_sampling_never_hurts_and_extremes_are_taken(noise: float, steps: int, rate: float) -> None:
    assert 0 <= compose_gaussian(noise, steps, 1e-5, rate) <= compose_gaussian(noise, steps, 1e-5)


def test_sampled_epsilon_rises_with_steps_and_rate_and_falls_with_noise() -> None:
    one = compose_gaussian(2, 100, 1e-5, 0.1)
    assert compose_gaussian(2, 200, 1e-5, 0.1) > one
    assert compose_gaussian(2, 100, 1e-5, 0.2) > one
    assert compose_gaussian(3, 100, 1e-5, 0.1) < one


@pytest.mark.parametrize("doublings", [0, 1, 4, 8, 11])
@pytest.mark.parametrize("gamma", [0.01, 0.283, 0.9, 0.9999])
@pytest.mark.parametrize("delta", [0.3, 1e-6, 1e-30])
def test_local_composition_is_the_exact_convolution(gamma: float, doublings: int, delta: float) -> None:
    losses, probabilities = ternary_losses(gamma, doublings)
    found = compose_local(gamma, 2**doublings, delta)

    def exact_delta(epsilon: float) -> float:
        return float(-np.expm1(np.minimum(epsilon - losses, 0)) @ probabilities)

    slack = 1e-9 * losses[-1]
    assert exact_delta(found + slack) <= delta
    assert found == 0 or exact_delta(found - slack) >= delta


@pytest.mark.parametrize("gamma", [0.3, 0.75, 0.99])
@pytest.mark.parametrize("releases", [10, 100, 1000, 5000])
def test_local_composition_is_dp_accountings(gamma: float, releases: int) -> None:
    """On a grid of one release's loss dp-accounting is exact, but for two steps of the grid where exp underflows."""
    step = local_epsilon(gamma)
    release = {1: 1 - 2 * gamma / 3, 0: gamma / 3, -1: gamma / 3}
    distribution = PrivacyLossDistribution(pld_pmf.create_pmf(release, step, 0.0, True)).self_compose(releases)
    reference = distribution.get_epsilon_for_delta(1e-6)
    assert reference - 2 * step < compose_local(gamma, releases, 1e-6) <= reference * (1 + 1e-6)
    if reference < 700:
        assert compose_local(gamma, releases, 1e-6) == pytest.approx(reference, rel=1e-6)


@given(st.floats(1e-6, 0.9), st.floats(1e-12, 0.1))
def test_one_local_release_is_the_closed_form(gamma: float, delta: float) -> None:
    """delta(epsilon) = (1 - 2 gamma / 3)(1 - exp(epsilon - e)): only the outcome with the largest loss counts."""
    closed = local_epsilon(gamma) + math.log1p(-delta / (1 - 2 * gamma / 3))
    assert compose_local(gamma, 1, delta) == pytest.approx(max(0, closed), rel=1e-9, abs=1e-12)


@settings(max_examples=30)
@given(st.floats(1e-3, 1 - 1e-3), st.integers(1, 10**12), st.floats(1e-12, 0.1))
def test_local_composition_lies_between_its_bounds(gamma: float, releases: int, delta: float) -> None:
    """Below basic composition and the Chernoff bound at a few orders, and rising with the releases."""
    loss, keep, noise = local_epsilon(gamma), 1 - 2 * gamma / 3, gamma / 3
    found = compose_local(gamma, releases, delta)
    assert 0 <= found <= releases * loss
    for order in np.geomspace(1e-7, 10, 30) / loss:
        log_moment = math.log1p(keep * math.expm1(order * loss) + noise * math.expm1(-order * loss))
        assert found <= (releases * log_moment - math.log(delta)) / order * (1 + 1e-9)
    assert compose_local(gamma, releases + 1 + releases // 10, delta) >= found


def test_local_composition_at_785_000_releases() -> None:
    """The DPBFL experiment: mean loss plus 4.75 standard deviations, as the central limit theorem has it."""
    loss, releases = local_epsilon(0.283), 785_000
    mean, deviation = 0.717 * loss * releases, loss * math.sqrt(releases * (0.283 / 3 + 0.811333 - 0.717**2))
    assert compose_local(0.283, releases, 1e-6) == pytest.approx(mean - norm.ppf(1e-6) * deviation, rel=1e-5)
    # With nearly all signs random the composition is Gaussian, with the variance of its losses.
    nearly = local_epsilon(0.999)
    gaussian = gaussian_epsilon(1 / (nearly * math.sqrt(releases * 0.999 * (5 / 3 - 0.999))), 1e-6, 1)
    assert compose_local(0.999, releases, 1e-6) == pytest.approx(gaussian, rel=2e-3)


def test_nothing_released_and_nothing_hidden() -> None:
    assert compose_gaussian(1, 0, 1e-5) == compose_gaussian(0, 0, 1e-5, 0.5) == compose_local(0, 0, 1e-5) == 0
    assert compose_gaussian(0, 1, 1e-5) == compose_gaussian(0, 3, 1e-5, 0.5) == compose_local(0, 1, 1e-5) == math.inf
    assert compose_gaussian(1e9, 1, 1e-5, 0.5) == compose_local(0.9, 1, 0.5) == 0


@pytest.mark.parametrize("bad", [-1, 1.5, math.nan, math.inf, 2 * 10**15])
def test_counts_out_of_range_are_named(bad: int) -> None:
    with pytest.raises(ValueError, match=r"^steps is .*, but must be a whole number from 0 to 10\^15"):
        compose_gaussian(1, bad, 1e-5)
    with pytest.raises(ValueError, match=r"^releases is .*, but must be a whole number from 0 to 10\^15"):
        compose_local(0.5, bad, 1e-5)


def test_other_arguments_out_of_range_are_named() -> None:
    for bad in (-1, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^noise_multiplier is"):
            compose_gaussian(bad, 1, 1e-5)
    for bad in (0, 1, -1, math.nan):
        with pytest.raises(ValueError, match=r"^delta is"):
            compose_gaussian(1, 1, bad)
        with pytest.raises(ValueError, match=r"^delta is"):
            compose_local(0.5, 1, bad)
    for bad in (0, 1.1, -1, math.nan):
        with pytest.raises(ValueError, match=r"^sampling_rate is .*, but must be in \(0, 1\]"):
            compose_gaussian(1, 1, 1e-5, bad)
    for bad in (1, -1, math.nan):
        with pytest.raises(ValueError, match=r"^gamma is .*, but must be in \[0, 1\)"):
            compose_local(bad, 1, 1e-5)
    with pytest.raises(ValueError, match=r"^steps is .*, but must be at most 10\^9 with a sampling_rate below 1"):
        compose_gaussian(1, 10**10, 1e-5, 0.5)
