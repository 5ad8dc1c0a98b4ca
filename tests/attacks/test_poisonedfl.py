"""PoisonedFL: its magnitude in closed form, its test against the binomial law, one direction in all rounds."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from attacks.poisonedfl import PoisonedFL, is_filtered, poisonedfl
from bench.protocol import Alphabet
from bench.threat import ByzantineView

View = Callable[..., ByzantineView]


def vector(seed: int, d: int = 12) -> torch.Tensor:
    return torch.randn(d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_first_update_has_the_shape_of_the_last_change() -> None:
    signs, change = torch.sign(vector(0)), vector(1)
    forged = poisonedfl(signs, change, torch.zeros(12, dtype=torch.float64), c=8.0)
    torch.testing.assert_close(forged, 8 * change.abs() * signs)  # |g| v = |g| |g| / |g|, coordinate by coordinate


@given(st.integers(0, 50), st.floats(0.5, 10))
def test_it_is_c_times_as_long_as_the_last_change_and_points_along_the_signs(seed: int, c: float) -> None:
    signs, change, last = torch.sign(vector(seed)), vector(seed + 1), vector(seed + 2)
    forged = poisonedfl(signs, change, last, c)
    assert float(forged.norm()) == pytest.approx(c * float(change.norm()))
    assert bool((forged * signs >= 0).all())
    v = (change - last / last.norm() * change.norm()).abs()
    torch.testing.assert_close(forged.abs() / forged.norm(), v / v.norm())


@pytest.mark.parametrize("scale", [2.0**-100, 2.0**-60, 2.0**60, 2.0**100])
def test_models_of_any_size_are_pushed_alike(scale: float) -> None:
    signs, change, last = (part.float() for part in (torch.sign(vector(4)), vector(5), vector(6)))
    torch.testing.assert_close(
        poisonedfl(signs, scale * change, scale * last) / scale, poisonedfl(signs, change, last), rtol=1e-5, atol=1e-6
    )


def test_where_all_follow_the_attackers_there_is_nothing_left_to_send() -> None:
    change = vector(3)
    assert not poisonedfl(torch.sign(change), change, 2 * change).any()
    assert not poisonedfl(torch.sign(change), torch.zeros_like(change), change).any()


@pytest.mark.parametrize(("d", "most"), [(1204682, 603618), (139960, 70415), (717924, 359948), (145212, 73049)])
def test_the_level_is_that_of_the_authors_code(d: int, most: int) -> None:
    """Its tables hold the 99 % points of the binomial distribution for four models."""
    signs = torch.ones(d)
    assert is_filtered(signs, torch.cat([torch.ones(most - 1), -torch.ones(d - most + 1)]))
    assert not is_filtered(signs, torch.cat([torch.ones(most + 1), -torch.ones(d - most - 1)]))


def test_a_model_that_moves_at_random_passes_one_time_in_a_hundred() -> None:
    """Of 2000 vectors the number that pass is binomial: outside of these bounds once in 10^6 runs."""
    random = torch.Generator().manual_seed(0)
    signs, draws = torch.ones(400), 2000
    passed = sum(not is_filtered(signs, torch.randn(400, generator=random)) for _ in range(draws))
    level = float(stats.binom.sf(stats.binom.isf(0.01, 400, 0.5) - 1, 400, 0.5))
    low, high = stats.binom.interval(1 - 1e-6, draws, level)
    assert 0.002 * draws < passed <= high
    assert low <= high


def played(
    attack: PoisonedFL, make: View, rounds: int, move: Callable[[torch.Tensor], torch.Tensor], **known: Any
) -> Any:
    """The forged updates of some rounds; `move` gives the model's change of what was sent."""
    memory, broadcast, sent = dict[str, torch.Tensor](), torch.zeros(400), []
    for _ in range(rounds):
        view = make(torch.zeros(2, 400), broadcast=broadcast, memory=memory, **known)
        sent.append(attack.forge(view)[0])
        broadcast = broadcast + move(sent[-1])
    return sent, memory


def test_all_rounds_push_the_same_way(byzantine_view: View) -> None:
    honest = torch.linspace(-1, 1, 400)
    sent, memory = played(PoisonedFL(), byzantine_view, 6, lambda forged: honest + 0.1 * forged)
    assert not sent[0].any(), "there is no change yet to look at"
    assert all(bool((forged * memory["signs"] >= 0).all()) for forged in sent[1:])


def test_it_grows_smaller_where_the_model_does_not_follow_and_stays_where_it_does(byzantine_view: View) -> None:
    random = torch.Generator().manual_seed(1)
    deaf = played(PoisonedFL(period=5), byzantine_view, 12, lambda forged: torch.randn(400, generator=random))[1]
    assert float(deaf["c"]) == pytest.approx(8 * 0.7**2)
    signs = deaf["signs"]
    led = played(PoisonedFL(period=5), byzantine_view, 12, lambda forged: 0.1 * signs + forged)[1]
    assert float(led["c"]) == 8
    floor = played(PoisonedFL(period=1, c=0.6), byzantine_view, 9, lambda forged: torch.randn(400, generator=random))[1]
    assert float(floor["c"]) >= 0.5
    assert math.isclose(float(floor["c"]), 0.6)  # 0.42 would be below the authors' floor


def test_votes_want_the_update(byzantine_view: View) -> None:
    sent, memory = played(
        PoisonedFL(), byzantine_view, 3, lambda forged: torch.linspace(-1, 1, 400), alphabet=Alphabet.TERNARY
    )
    assert sent[-1].dtype == torch.int8
    assert bool((sent[-1].double() * memory["signs"] <= 0).all())
