"""Shuffled composition against the shuffled protocol itself, enumerated, and against its limits."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from dp_accounting.rdp.rdp_privacy_accountant import compute_epsilon
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from scipy.stats import binom

from bench.privacy.analysis.compose import compose_local
from bench.privacy.analysis.gaussian import gaussian_epsilon
from bench.privacy.papers.blanket import compose_shuffle
from bench.privacy.papers.shuffle import shuffle_claim_conditions, shuffle_epsilon

SIGNS = (-1, 0, 1)


def histogram_law(signs: tuple[int, ...], gamma: float) -> dict[tuple[int, ...], float]:
    """Probability of each multiset of messages that the shuffler can put out."""
    law: Counter[tuple[int, ...]] = Counter()
    for sent in itertools.product(SIGNS, repeat=len(signs)):
        weight = math.prod((1 - gamma) * (x == y) + gamma / 3 for x, y in zip(signs, sent, strict=True))
        law[tuple(sorted(sent))] += weight
    return law


def limit_epsilon(n: int, gamma: float, releases: int, delta: float) -> float:
    """Gaussian limit of many clients: one release has mu^2 = 6 (1 - gamma)^2 / (gamma n)."""
    return gaussian_epsilon(math.sqrt(gamma * n / 6 / releases) / (1 - gamma), delta, 1)


@pytest.mark.parametrize("gamma", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("delta", [0.2, 0.05, 1e-3])
@pytest.mark.parametrize("releases", [1, 2])
def test_no_pair_of_inputs_exceeds_the_bound(gamma: float, delta: float, releases: int) -> None:
    """All inputs of four clients, and all changes of one client's sign, in one release and in two alike ones."""
    epsilon = compose_shuffle(4, gamma, releases, delta)
    for others in itertools.combinations_with_replacement(SIGNS, 3):
        for before, after in itertools.permutations(SIGNS, 2):
            laws = histogram_law((*others, before), gamma), histogram_law((*others, after), gamma)
            p, q = (np.array([law[key] for key in laws[0]]) for law in laws)
            if releases == 2:
                p, q = np.outer(p, p), np.outer(q, q)
            assert np.maximum(p - math.exp(epsilon) * q, 0).sum() <= delta


@pytest.mark.parametrize(
    ("n", "gamma", "releases", "delta"),
    [(20, 0.5, 10, 1e-6), (30, 0.2, 300, 1e-6), (12, 0.9, 1000, 1e-3), (200, 0.3, 1, 1e-12)],
)
def test_it_is_the_renyi_bound_of_the_enumerated_blanket(n: int, gamma: float, releases: int, delta: float) -> None:
    """Every count of random signs and every histogram of them; dp-accounting turns the divergences into epsilon."""
    p, q = [], []
    for m in range(n):
        total, random_signs = m + 1, binom.pmf(m, n - 1, gamma)
        if random_signs < 1e-30:
            continue
        same, other = np.array([(i, j) for i in range(total + 1) for j in range(total + 1 - i)]).T
        rest = total - same - other
        log_ways = gammaln(total + 1) - gammaln(same + 1) - gammaln(other + 1) - gammaln(rest + 1) - m * math.log(3)
        ways = np.exp(log_ways) * random_signs / total
        p.append(ways * ((1 - gamma) * same + gamma / 3 * total))
        q.append(ways * ((1 - gamma) * other + gamma / 3 * total))
    first, second = np.concatenate(p), np.concatenate(q)
    assert first.sum() == pytest.approx(1)
    assert second.sum() == pytest.approx(1)
    orders, losses = 1 + np.geomspace(1e-2, 100, 120), np.log(first / second)
    divergences = [releases * math.log(first @ np.exp((order - 1) * losses)) / (order - 1) for order in orders]
    reference, _ = compute_epsilon(orders, divergences, delta)
    assert reference * (1 - 2e-3) < compose_shuffle(n, gamma, releases, delta) < reference * (1 + 1e-6)


def test_errata_d6() -> None:
    """The DPBFL experiment's 785,000 releases: 4.7e3 is the Gaussian limit, 1 % below the bound at n = 1000."""
    limit = limit_epsilon(1000, 0.283, 785_000, 1e-6)
    assert limit == pytest.approx(4.7e3, rel=5e-3)
    assert limit < compose_shuffle(1000, 0.283, 785_000, 1e-6) < 1.02 * limit


@pytest.mark.parametrize(("n", "gamma", "releases"), [(10**5, 0.283, 10**6), (10**6, 0.75, 10**8), (10**7, 0.1, 10**8)])
def test_it_nears_the_gaussian_limit(n: int, gamma: float, releases: int) -> None:
    """From above, by what Renyi divergences lose, which is less the larger epsilon is."""
    limit = limit_epsilon(n, gamma, releases, 1e-6)
    assert limit < compose_shuffle(n, gamma, releases, 1e-6) < 1.05 * limit


@settings(max_examples=12, deadline=None)
@given(st.integers(1, 300), st.floats(1e-3, 1 - 1e-3), st.integers(1, 10**6), st.floats(1e-9, 0.1))
def test_it_is_never_above_the_local_bound_nor_corollary_1(n: int, gamma: float, releases: int, delta: float) -> None:
    found = compose_shuffle(n, gamma, releases, delta)
    assert 0 <= found <= compose_local(gamma, releases, delta)
    if n > 1 and shuffle_claim_conditions(n, gamma, delta) is None:
        assert compose_shuffle(n, gamma, 1, delta) <= shuffle_epsilon(n, gamma, delta)


def test_more_clients_hide_and_more_releases_tell() -> None:
    found = [compose_shuffle(n, 0.283, 100, 1e-6) for n in (1, 2, 5, 10, 30, 100, 1000, 10**4, 10**6)]
    assert found == sorted(found, reverse=True)
    found = [compose_shuffle(100, 0.283, releases, 1e-6) for releases in (0, 1, 2, 10, 1000, 10**6, 10**12, 10**15)]
    assert found == sorted(found)


def test_ends_of_the_range() -> None:
    assert compose_shuffle(1000, 0, 0, 1e-6) == compose_shuffle(1000, 0.5, 0, 1e-6) == 0
    assert compose_shuffle(1000, 0, 1, 1e-6) == math.inf
    assert compose_shuffle(1, 0.5, 7, 1e-6) == compose_local(0.5, 7, 1e-6)


def test_arguments_out_of_range_are_named() -> None:
    for bad in (0, -1, 2.5, math.nan, math.inf):
        with pytest.raises(ValueError, match=r"^n is .*, but must be a whole number of clients of at least 1"):
            compose_shuffle(bad, 0.5, 1, 1e-6)
    for bad in (-0.1, 1, math.nan):
        with pytest.raises(ValueError, match=r"^gamma is"):
            compose_shuffle(10, bad, 1, 1e-6)
    for bad in (-1, 0.5, math.nan):
        with pytest.raises(ValueError, match=r"^releases is"):
            compose_shuffle(10, 0.5, bad, 1e-6)
    for bad in (0, 1, math.nan):
        with pytest.raises(ValueError, match=r"^delta is"):
            compose_shuffle(10, 0.5, 1, bad)
