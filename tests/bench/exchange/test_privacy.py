"""Games against wrappers whose privacy is known: a Gaussian mechanism, the same with too little noise, and none."""

import math

import numpy as np
import pytest

from bench.base.errors import BadInputError
from bench.exchange.foreign.entry import Entry
from bench.exchange.foreign.privacy import DELTA, Z, audited, direction, play
from bench.privacy.analysis.gaussian import gaussian_epsilon

CANARY = direction()
CLAIMED = gaussian_epsilon(Z, DELTA, 1.0)


def noisy(sigma: float) -> "tuple[float, str]":
    draws = np.random.default_rng(0)
    found = play(
        f"sigma {sigma}", lambda update: update + draws.normal(0, sigma, update.shape), CLAIMED, True, CANARY, ""
    )
    return found.measured, found.told


def test_a_gaussian_mechanism_is_not_refuted() -> None:
    """At 95% confidence by construction; this seed is one of those."""
    measured, told = noisy(Z)
    assert 0.5 < measured < CLAIMED
    assert "not refuted" in told


def test_too_little_noise_is_refuted_and_no_more_than_true() -> None:
    measured, told = noisy(Z / 5)
    assert CLAIMED < measured < gaussian_epsilon(Z / 5, DELTA, 1.0)
    assert "REFUTED" in told


def test_no_noise_is_told_as_such() -> None:
    found = play("none", lambda update: update, None, False, CANARY, "")
    assert "no noise at all" in found.told
    assert math.isfinite(found.measured)


def test_the_same_game_twice_is_the_same() -> None:
    def game(update: np.ndarray) -> np.ndarray:
        return update + np.random.normal(0, 1, update.shape)  # noqa: NPY002  as the wrappers draw

    first, second = (play("twice", game, CLAIMED, True, CANARY, "").measured for _ in range(2))
    assert first == second


def test_a_wrapper_without_a_game_is_told() -> None:
    with pytest.raises(BadInputError, match="no game is written for other:Wrapper"):
        audited(Entry("other", "Wrapper", "mechanism", lambda n, f, given: lambda rows: rows))
