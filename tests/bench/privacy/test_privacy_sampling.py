"""Clients drawn anew each round: the busiest one against all draws there are, hidden draws against their worst case."""

import itertools
import math

import numpy as np
import pytest
from scipy.stats import binom, norm

from bench.privacy.analysis.compose import compose_gaussian
from bench.privacy.sampling import busiest_client, compose_hidden_draws


def chance_of_more(num_clients: int, participants: int, rounds: int, most: int) -> float:
    """That some client takes part in more than `most` rounds, by going through all draws of all rounds."""
    draws = list(itertools.combinations(range(num_clients), participants))
    busiest = [np.bincount(np.concatenate(run)).max() for run in itertools.product(draws, repeat=rounds)]
    return float(np.mean(np.array(busiest) > most))


@pytest.mark.parametrize(("num_clients", "participants", "rounds"), [(3, 1, 6), (4, 2, 4), (5, 2, 3), (6, 1, 4)])
@pytest.mark.parametrize("delta", [0.9, 0.5, 0.1, 0.02])
def test_no_client_takes_part_in_more_but_with_that_probability(
    num_clients: int, participants: int, rounds: int, delta: float
) -> None:
    most, left = busiest_client(num_clients, participants, rounds, delta)
    assert chance_of_more(num_clients, participants, rounds, most) <= delta - left + 1e-12
    assert delta / 2 <= left <= delta


@pytest.mark.parametrize(
    ("num_clients", "participants", "rounds"), [(100, 20, 7), (100, 30, 300), (1000, 100, 1000), (10, 9, 50)]
)
@pytest.mark.parametrize("delta", [1e-2, 1e-6])
def test_the_busiest_client_is_the_union_bounds(num_clients: int, participants: int, rounds: int, delta: float) -> None:
    most, left = busiest_client(num_clients, participants, rounds, delta)
    beyond = num_clients * binom.sf(np.arange(rounds + 1), rounds, participants / num_clients)
    assert most == np.flatnonzero(beyond <= delta / 2)[0]
    assert delta - left == pytest.approx(beyond[most], rel=1e-6, abs=1e-22)


@pytest.mark.parametrize("rounds", [0, 1, 30, 10**9])
def test_where_all_take_part_all_rounds_count_and_nothing_of_delta_is_spent(rounds: int) -> None:
    assert busiest_client(100, 100, rounds, 1e-6) == (rounds, 1e-6)
    assert compose_hidden_draws(30.0, 100, 100, rounds, 1e-6) == compose_gaussian(30.0, rounds, 1e-6)


def test_a_rare_client_may_be_drawn_every_time() -> None:
    """7 rounds of 20 of 100 clients: one that is drawn in all has a chance of .2^7 = 1.3e-5, more than delta."""
    assert busiest_client(100, 20, 7, 1e-6) == (7, 1e-6)
    assert busiest_client(100, 20, 7, 0.02)[0] == 6  # 100 times .2^7 is 1.3e-3, and 100 times 3.7e-4 is .037


def test_arguments_out_of_range_are_refused() -> None:
    for bad in (0, 101):
        with pytest.raises(ValueError, match="participants"):
            busiest_client(100, bad, 7, 1e-6)
    with pytest.raises(ValueError, match="rounds"):
        busiest_client(100, 20, -1, 1e-6)
    for bad_delta in (0.0, 1.0):
        with pytest.raises(ValueError, match="delta"):
            busiest_client(100, 20, 7, bad_delta)


# -------------------------------------------------------------------------------------------------------- hidden draws


def opposed(noise: float, share: float, rounds: int, delta: float) -> float:
    """A lower bound on the true epsilon: all others send -1, and the target 1 or 0.

    Then a sum moves by 2 or by 1 where the target is drawn, in another one's place, and else not at all. The losses of
    a round, rounded down to a grid, are added up by Fourier transforms.
    """
    x = np.linspace(-14 * noise, 2 + 14 * noise, 200_001)
    here, there = (share * norm.pdf(x, shift, noise) + (1 - share) * norm.pdf(x, 0, noise) for shift in (2, 1))
    size, reach = 2**17, 80.0 / math.sqrt(rounds)  # a round down is lost in each round
    grid = -reach + 2 * reach / size * np.arange(size)
    place = np.searchsorted(grid, np.log(here / there), side="right") - 1
    once = np.bincount(place, here * (x[1] - x[0]), minlength=size)
    many = np.fft.ifft(np.fft.fft(np.roll(once, -size // 2)) ** rounds).real
    losses = np.roll(many, size // 2)

    def excess(epsilon: float) -> float:
        above = grid > epsilon
        return float(losses[above] @ -np.expm1(epsilon - grid[above]))

    low, high = 0.0, reach
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if excess(middle) > delta else (low, middle)
    return low


@pytest.mark.parametrize(
    ("noise", "num_clients", "participants", "rounds", "delta"),
    [(1.0, 10, 5, 1, 1e-5), (1.0, 100, 20, 7, 1e-6), (2.0, 1000, 20, 500, 1e-5), (3.0, 10, 9, 30, 1e-5)],
)
def test_hidden_draws_are_bounded_from_above_where_poissons_epsilon_is_below_the_truth(
    noise: float, num_clients: int, participants: int, rounds: int, delta: float
) -> None:
    found = compose_hidden_draws(noise, num_clients, participants, rounds, delta)
    truth = opposed(noise, participants / num_clients, rounds, delta)
    assert compose_gaussian(noise, rounds, delta, participants / num_clients) < truth < found
    assert found <= compose_gaussian(noise, rounds, delta)


def test_few_of_many_have_less_to_fear() -> None:
    found = compose_hidden_draws(1.1, 10_000, 100, 1000, 1e-5)
    assert found < compose_gaussian(1.1, 1000, 1e-5) / 30
    assert compose_hidden_draws(1e-4, 10_000, 100, 1000, 1e-5) < math.inf
    assert compose_hidden_draws(0.0, 10_000, 100, 1000, 1e-5) == math.inf
