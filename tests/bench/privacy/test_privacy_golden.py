"""Published outputs of other accountants: ours gives them, or lies below those that are known to be loose.

Each value stands in a test or a page of its project, named beside it. Those of Renyi accountants are upper bounds of
ours; dp-accounting's, given the orders of the day, shows that the setting is the one that was published.
"""

import itertools
import math

import dp_accounting
import numpy as np
import pytest
from dp_accounting.pld import PLDAccountant
from dp_accounting.rdp import RdpAccountant

from bench.privacy.analysis.compose import compose_gaussian, compose_local
from bench.privacy.analysis.gaussian import gaussian_delta
from bench.privacy.analysis.local import gamma_for_local_epsilon, local_epsilon

TF_PRIVACY_ORDERS = [1.25, 1.5, 1.75, 2, 2.25, 2.5, 3, 3.5, 4, 4.5, *range(5, 64), 128, 256, 512]
OPACUS_ORDERS = [*(1 + x / 10 for x in range(1, 100)), *range(12, 64)]
OPACUS = (1.5, 2249, 1e-5, 0.04)  # int(90 // 0.04) steps


def renyi(noise: float, steps: int, delta: float, rate: float, orders: list[float] | None = None) -> float:
    """Epsilon by dp-accounting's Renyi accountant, at its own orders or at these."""
    event = dp_accounting.PoissonSampledDpEvent(rate, dp_accounting.GaussianDpEvent(noise))
    return float(RdpAccountant(orders).compose(event, steps).get_epsilon(delta))


def moments(noise: float, steps: int, delta: float, rate: float) -> float:
    """Epsilon as it was read off Renyi divergences up to 2020: rdp + ln(1 / delta) / (order - 1) (Mironov 2017)."""
    found = []
    for order in TF_PRIVACY_ORDERS:
        epsilon = renyi(noise, steps, delta, rate, [order])
        if 0 < epsilon < math.inf:
            found.append(epsilon - math.log1p(-1 / order) + math.log(order) / (order - 1))
    return min(found)


@pytest.mark.parametrize(
    ("noise", "steps", "delta", "rate", "published", "places"),
    [
        # google/differential-privacy, dp_accounting/pld/pld_privacy_accountant_test.py, test_gaussian_basic and
        # test_poisson_subsampled_gaussian: delta at epsilon = 1 after three releases.
        (math.sqrt(3), 3, 0.126936, 1.0, 1.0, 1e-3),
        (0.5, 3, 0.15594, 0.2, 1.0, 1e-3),
        # tensorflow/privacy, analysis/compute_dp_sgd_privacy_test.py, test_compute_dp_sgd_example_privacy with PLD:
        # 1.2 epochs at noise 0.7; microbatches double the sensitivity.
        (0.7, 2, 1e-5, 1.0, 10.1224946, 1e-6),
        (0.35, 2, 1e-5, 1.0, 24.7160779, 1e-6),
        (0.7, 120, 1e-5, 0.01, 2.4612381, 1e-4),
        (0.35, 120, 1e-5, 0.01, 18.6977407, 1e-4),
        # The same file, test_dp_sgd_privacy_statement_user_dp_with_pld: 10,000 examples, batch 64, 5 epochs, noise 2
        # with microbatching, printed to three places; two examples a user halve the noise again.
        (1.0, 5, 1e-6, 1.0, 12.595, 5e-4),
        (0.5, 5, 1e-6, 1.0, 30.579, 5e-4),
        (1.0, 782, 1e-6, 0.0064, 1.199, 5e-4),
    ],
)
def test_tight_accountants(
    noise: float, steps: int, delta: float, rate: float, published: float, places: float
) -> None:
    assert compose_gaussian(noise, steps, delta, rate) == pytest.approx(published, abs=places)


def test_opacus_prv_accountant() -> None:
    """meta-pytorch/opacus, tests/accountants_test.py, test_prv_accountant: an upper bound with an error of 0.01.

    test_get_noise_multiplier_prv_epochs and _steps search the noise for epsilon = 8, to another 0.01.
    """
    assert 6.777395712150674 - 0.01 < compose_gaussian(*OPACUS) < 6.777395712150674
    for noise, steps in ((1.34765625, 2250), (1.2915, 2000)):
        assert 8 - 0.02 < compose_gaussian(noise, steps, 1e-5, 0.04) < 8


def test_opacus_gdp_accountant_underestimates() -> None:
    """The same file, test_gdp_accountant: between 6.59 and 6.6 by the central limit theorem, which is no bound."""
    limit = 0.04 * math.sqrt(2249 * math.expm1(1.5**-2))
    assert gaussian_delta(6.59, 1 / limit, 1) > 1e-5 > gaussian_delta(6.6, 1 / limit, 1)
    assert compose_gaussian(*OPACUS) > 6.6


@pytest.mark.parametrize(
    ("noise", "steps", "delta", "rate", "orders", "published", "places"),
    [
        # meta-pytorch/opacus, tests/accountants_test.py, test_rdp_accountant and test_get_noise_multiplier_rdp_epochs
        # and _steps (epsilon = 8, to 0.01).
        (1.5, 2250, 1e-5, 0.04, OPACUS_ORDERS, 7.32911117143, 1e-3),
        (1.416, 2250, 1e-5, 0.04, OPACUS_ORDERS, 8.0, 0.01),
        (1.3562, 2000, 1e-5, 0.04, OPACUS_ORDERS, 8.0, 0.01),
        # tensorflow/privacy, analysis/compute_dp_sgd_privacy_test.py, test_compute_dp_sgd_privacy.
        (1.3, 6000, 1e-5, 150 / 60000, TF_PRIVACY_ORDERS, 0.7242234026109595, 1e-7),
        (1.0, 30000, 1e-7, 100 / 100000, TF_PRIVACY_ORDERS, 1.4154988495444842, 1e-7),
        (0.1, 976563, 1e-7, 1024 / 10**8, TF_PRIVACY_ORDERS, 5907982.3113978775, 1e-3),
        # The same file, test_compute_dp_sgd_example_privacy and the statement with RDP.
        (0.7, 2, 1e-5, 1.0, None, 10.8602036, 1e-6),
        (0.7, 120, 1e-5, 0.01, None, 3.2392676, 1e-6),
        (0.35, 120, 1e-5, 0.01, None, 22.6248601, 1e-6),
        (1.0, 5, 1e-6, 1.0, None, 13.376, 5e-4),
        (1.0, 782, 1e-6, 0.0064, None, 1.616, 5e-4),
    ],
)
def test_renyi_accountants_are_above(
    noise: float, steps: int, delta: float, rate: float, orders: list[float] | None, published: float, places: float
) -> None:
    assert renyi(noise, steps, delta, rate, orders) == pytest.approx(published, abs=places)
    assert compose_gaussian(noise, steps, delta, rate) < published - places


@pytest.mark.parametrize(("noise", "epochs", "published"), [(1.12, 60, 2.92), (0.6, 30, 9.74), (1.2, 10, 1.20)])
def test_tf_privacy_tutorial(noise: float, epochs: int, published: float) -> None:
    """tensorflow/privacy, tutorials/README.md, the table at delta = 1e-5: MNIST, batch 256, by the moments accountant.

    The second row, 9.77 by today's divergences, is 0.4 % away.
    """
    setting = (noise, epochs * 60000 // 256, 1e-5, 256 / 60000)
    assert moments(*setting) == pytest.approx(published, rel=5e-3)
    assert compose_gaussian(*setting) < renyi(*setting) < published


@pytest.mark.parametrize(("noise", "epochs", "published"), [(1.3, 15, 1.19), (1.1, 60, 3.01), (0.7, 45, 7.10)])
def test_opacus_mnist_example(noise: float, epochs: int, published: float) -> None:
    """pytorch/opacus, examples/mnist_README.md at delta = 1e-5: 240 steps an epoch at the sample rate 0.004 (1 / 240).

    Its orders and its rounding of the rate are not stated; the moments accountant comes within 2 %.
    """
    setting = (noise, epochs * 240, 1e-5, 1 / 240)
    assert moments(*setting) == pytest.approx(published, rel=0.02)
    assert compose_gaussian(*setting) < renyi(*setting) < published


@pytest.mark.parametrize(("noise", "steps", "delta"), [(0.3, 1, 1e-5), (2.0, 40, 1e-6), (30.0, 10**4, 1e-9)])
def test_unsampled_composition_is_one_release_of_balle_and_wang(noise: float, steps: int, delta: float) -> None:
    found = compose_gaussian(noise, steps, delta)
    assert gaussian_delta(found, noise / math.sqrt(steps), 1) == pytest.approx(delta, rel=1e-9)


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 3.0])
def test_ternary_randomized_response_is_dp_accountings(epsilon: float) -> None:
    """Their test_randomized_response has epsilon = 1 at noise k / (k - 1 + e), here with k = 3 answers."""
    gamma = gamma_for_local_epsilon(epsilon)
    assert gamma == pytest.approx(3 / (2 + math.exp(epsilon)))
    accountant = PLDAccountant(dp_accounting.NeighboringRelation.REPLACE_ONE)
    accountant.compose(dp_accounting.RandomizedResponseDpEvent(gamma, 3))
    for delta in (1e-3, 0.02):
        assert compose_local(gamma, 1, delta) == pytest.approx(accountant.get_epsilon(delta), abs=2e-4)


@pytest.mark.parametrize("gamma", [0.1, 0.283, 0.8])
@pytest.mark.parametrize("releases", [1, 2, 3, 4])
@pytest.mark.parametrize("delta", [0.2, 1e-2, 1e-4])
def test_local_composition_by_brute_force(gamma: float, releases: int, delta: float) -> None:
    """All outputs of all pairs of inputs: no pair needs a larger epsilon, and one that differs everywhere needs it."""
    signs = (-1, 0, 1)
    once = np.array([[(1 - gamma) * (x == y) + gamma / 3 for y in signs] for x in signs])
    law = {
        inputs: np.prod(np.meshgrid(*(once[x + 1] for x in inputs), indexing="ij"), axis=0).ravel()
        for inputs in itertools.product(signs, repeat=releases)
    }
    found = compose_local(gamma, releases, delta)

    def worst(epsilon: float) -> float:
        first = (1,) * releases  # by symmetry
        return max(np.maximum(law[first] - math.exp(epsilon) * law[other], 0).sum() for other in law)

    assert worst(found) <= delta * (1 + 1e-9)
    assert found == 0 or worst(found - 1e-6 * releases * local_epsilon(gamma)) > delta
