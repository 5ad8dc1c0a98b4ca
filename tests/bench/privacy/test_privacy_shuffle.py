"""DPBFL's theorems against the numbers that the paper prints and against exact enumeration."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.privacy.papers.shuffle import (
    analyzer_variance,
    minimum_shuffle_epsilon,
    robustness_bound,
    shuffle_claim_conditions,
    shuffle_epsilon,
    shuffle_gamma,
    theorem1_gamma,
)

CLIENTS = st.integers(2, 10**7)
GAMMAS = st.floats(1e-6, 1 - 1e-6)
DELTAS = st.floats(1e-12, 0.5)


@pytest.mark.parametrize(
    ("n", "epsilon"),
    [(10_000, "0.28505544898604424"), (50_000, "0.12747557282703412"), (100_000, "0.09013839128179175")],
)
def test_table_3_to_all_digits(n: int, epsilon: str) -> None:
    assert repr(minimum_shuffle_epsilon(n, 0.2, 1e-6)) == epsilon


def test_errata_d1() -> None:
    """The paper's "minimum gamma" 0.283 at n = 1000, for which no epsilon below 1 holds."""
    assert shuffle_epsilon(1000, 0.283, 1e-6) == pytest.approx(1.4681, abs=5e-5)
    assert shuffle_gamma(1000, 1, 1e-6) == pytest.approx(0.60997, abs=5e-6)
    assert shuffle_epsilon(1000, 0.283, 2.386e-3) == pytest.approx(1, abs=1e-4)


def test_errata_d3_infeasible_points_of_figure_10() -> None:
    assert shuffle_gamma(10_000, 0.285, 1e-6) > 0.75
    with pytest.raises(
        ValueError,
        match=r"^epsilon is 0.2, but must be above 0\.24686\d at n = 10000, delta = 1e-06: gamma would be 1\.52",
    ):
        shuffle_gamma(10_000, 0.2, 1e-6)
    with pytest.raises(ValueError, match=r"^epsilon is 0.2, but must be above 0.246"):
        theorem1_gamma(10_000, 0.2, 1e-6)


@given(CLIENTS, GAMMAS, DELTAS)
def test_gamma_inverts_epsilon_and_both_fall(n: int, gamma: float, delta: float) -> None:
    epsilon = shuffle_epsilon(n, gamma, delta)
    assert shuffle_gamma(n, epsilon, delta) == pytest.approx(gamma, rel=1e-12)
    assert shuffle_epsilon(n + 1, gamma, delta) < epsilon
    assert shuffle_epsilon(n, gamma / 2, delta) > epsilon


@given(CLIENTS, GAMMAS, st.floats(1e-12, 0.999))
def test_corollary_1_is_theorem_1_where_its_conditions_hold(n: int, gamma: float, delta: float) -> None:
    epsilon = shuffle_epsilon(n, gamma, delta)
    if shuffle_claim_conditions(n, gamma, delta) is None:
        assert theorem1_gamma(n, epsilon, delta) == pytest.approx(gamma, rel=1e-12)


def test_theorem_1_where_its_second_term_is_larger() -> None:
    assert theorem1_gamma(1001, 0.9, 0.9) == pytest.approx(81 / 900, rel=1e-12)
    with pytest.raises(ValueError, match=r"above 0.81 at n = 101"):
        theorem1_gamma(101, 0.5, 0.999)


def test_claim_conditions_are_sentences() -> None:
    """Errata D1: 0.61 is the gamma that the paper's 0.283 would have to be."""
    assert shuffle_claim_conditions(10_000, 0.75, 1e-6) is None
    too_weak = "needs epsilon < 1: gamma would be 0.61 at n = 1000, and gamma = 0.283 gives 1.468"
    assert shuffle_claim_conditions(1000, 0.283, 1e-6) == too_weak
    loose = "needs delta < 2 exp(-27/14) = 0.2907: delta is 0.3"
    assert shuffle_claim_conditions(1000, 0.283, 0.3) == loose
    too_few = "needs epsilon < 1: n would be 283, and gamma = 0.283 gives 2.397"
    assert shuffle_claim_conditions(50, 0.283, 0.3) == f"{too_few}; {loose}"
    for gamma in (0, 1):
        assert shuffle_claim_conditions(1000, gamma, 1e-6) == f"needs 0 < gamma < 1: gamma is {gamma}"


@given(st.floats(1e-3, 1 - 1e-3), st.floats(1e-12, 0.2))
def test_what_the_conditions_ask_for_meets_them(gamma: float, delta: float) -> None:
    """The clients that are named suffice, one fewer does not; and so it is for gamma, at enough clients for one."""
    named = shuffle_claim_conditions(2, gamma, delta)
    assert named is not None
    n = int(named.split("n would be ")[1].split(", and")[0].replace(",", ""))
    assert shuffle_epsilon(n, gamma, delta) < 1 <= shuffle_epsilon(n - 1, gamma, delta)
    weak = shuffle_claim_conditions(n, gamma / 2, delta)
    assert weak is not None
    asked = float(weak.split("gamma would be ")[1].split(" at n")[0])
    assert asked == pytest.approx(shuffle_gamma(n, 1, delta), rel=1e-3)


@pytest.mark.parametrize(("gamma", "bound"), [(0, 0.5), (0.75, 0.2), (0.283, 0.4176), (0.383, 0.3816), (0.483, 0.3408)])
def test_robustness_bound(gamma: float, bound: float) -> None:
    """The last three lie on the same side of 30 % and 40 % as the paper's table 1 shows them."""
    assert robustness_bound(gamma) == pytest.approx(bound, abs=5e-5)


@given(st.floats(1e-3, 1 - 1e-3))
def test_minimum_epsilon_is_on_the_robustness_bound(gamma: float) -> None:
    found = minimum_shuffle_epsilon(10_000, robustness_bound(gamma), 1e-6)
    assert found == pytest.approx(shuffle_epsilon(10_000, gamma, 1e-6), rel=1e-9)


@pytest.mark.parametrize("gamma", [0.0, 0.283, 0.9])
@pytest.mark.parametrize("signs", [(1, -1, 1), (0, 0, 1), (0, 0, 0), (-1, 1, 0)])
def test_analyzer_variance_is_the_enumerated_one(gamma: float, signs: tuple[int, ...]) -> None:
    def probability(sign: int, sent: int) -> float:
        return (1 - gamma) * (sign == sent) + gamma / 3

    outcomes = list(itertools.product((-1, 0, 1), repeat=3))
    weights = [math.prod(map(probability, signs, sent)) for sent in outcomes]
    sums = np.array([sum(sent) for sent in outcomes]) / (1 - gamma)
    mean = np.average(sums, weights=weights)
    assert mean == pytest.approx(sum(signs), abs=1e-12)
    nonzero = sum(map(abs, signs))
    assert analyzer_variance(3, nonzero, gamma) == pytest.approx(
        np.average((sums - mean) ** 2, weights=weights), abs=1e-12
    )


def test_analyzer_variance_of_errata_d10() -> None:
    assert analyzer_variance(1000, 1000, 0.283) == pytest.approx(762, abs=0.5)


@pytest.mark.parametrize("bad", [-0.1, 0.0, 1.0, 1.5, math.nan])
def test_gammas_and_deltas_out_of_range_are_named(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^gamma is .*, but must be between 0 and 1"):
        shuffle_epsilon(1000, bad, 1e-6)
    for call in (
        lambda: shuffle_epsilon(1000, 0.283, bad),
        lambda: shuffle_gamma(1000, 0.5, bad),
        lambda: theorem1_gamma(1000, 0.5, bad),
        lambda: shuffle_claim_conditions(1000, 0.283, bad),
        lambda: minimum_shuffle_epsilon(1000, 0.2, bad),
    ):
        with pytest.raises(ValueError, match=r"^delta is .*, but must be between 0 and 1"):
            call()
    if bad not in (0, 1):
        with pytest.raises(ValueError, match=r"^gamma is"):
            shuffle_claim_conditions(1000, bad, 1e-6)
    if bad != 0:
        with pytest.raises(ValueError, match=r"^gamma is"):
            robustness_bound(bad)
        with pytest.raises(ValueError, match=r"^gamma is"):
            analyzer_variance(10, 5, bad)
        with pytest.raises(ValueError, match=r"^byzantine_fraction is"):
            minimum_shuffle_epsilon(1000, bad, 1e-6)


@pytest.mark.parametrize("n", [1, 0, -5, math.nan])
def test_too_few_clients_are_named(n: int) -> None:
    for call in (
        lambda: shuffle_epsilon(n, 0.283, 1e-6),
        lambda: shuffle_gamma(n, 0.5, 1e-6),
        lambda: theorem1_gamma(n, 0.5, 1e-6),
        lambda: shuffle_claim_conditions(n, 0.283, 1e-6),
        lambda: minimum_shuffle_epsilon(n, 0.2, 1e-6),
    ):
        with pytest.raises(ValueError, match=r"^n is .*, but must be a number of clients of at least 2"):
            call()


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_epsilons_out_of_range_are_named(bad: float) -> None:
    with pytest.raises(ValueError, match=r"^epsilon is"):
        shuffle_gamma(1000, bad, 1e-6)
    with pytest.raises(ValueError, match=r"^epsilon is"):
        theorem1_gamma(1000, bad, 1e-6)


def test_other_arguments_out_of_range_are_named() -> None:
    with pytest.raises(ValueError, match=r"^epsilon is 1, but must be between 0 and 1"):
        theorem1_gamma(1000, 1, 1e-6)
    with pytest.raises(ValueError, match=r"^byzantine_fraction is 0.5"):
        minimum_shuffle_epsilon(1000, 0.5, 1e-6)
    with pytest.raises(ValueError, match=r"^nonzero is 11, but must be a count between 0 and n = 10"):
        analyzer_variance(10, 11, 0.5)
    with pytest.raises(ValueError, match=r"^n is -1"):
        analyzer_variance(-1, 0, 0.5)
