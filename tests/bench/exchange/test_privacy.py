"""Games against wrappers whose privacy is known: Gaussian, with too little noise, and none; then Flower's own."""

import math
import re
from importlib.util import find_spec

import numpy as np
import pytest

from bench.base.errors import BadInputError
from bench.exchange.foreign.entry import Entry
from bench.exchange.foreign.privacy import DELTA, PrivacyFinding, Z, audited, direction, play, scored
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


def test_a_score_of_no_gaussian_mechanism_is_bounded_by_its_runs_alone() -> None:
    """Worlds that any score tells apart, a million apart: the bound is the runs', and no Gaussian's."""
    draws = np.random.default_rng(0)
    found = scored("apart", lambda update: 1e6 * update[0] + draws.normal(), CLAIMED, False, CANARY, "", 100)
    assert 0 < found.measured <= math.log(50)
    assert found.measured == found.most


FLOWER = pytest.mark.skipif(find_spec("flwr") is None, reason="Flower is not installed: pip install 'fedsiege[flower]'")


@FLOWER
@pytest.mark.parametrize("prefix", ["", "server."])
def test_flower_s_adaptive_norm_goes_away_from_the_quantile_and_its_noise_with_it(prefix: str) -> None:
    """Both by hand: exp(-0.2 (1 - 0.5)) where all clip, and noise for that norm."""
    told = {one.case: one.told for one in _looks(f"{prefix}DifferentialPrivacyServerSideAdaptiveClipping")}
    falls = re.findall(r"to (\d\.\d+) of what it was", told["where the norm goes"])
    size = re.findall(r"clipped to: (\d\.\d+) of it", told["the noise's size"])
    assert float(*falls) == pytest.approx(math.exp(-0.1), abs=0.02)
    assert float(*size) == pytest.approx(math.exp(-0.1), abs=0.06)


@FLOWER
def test_flower_s_first_adaptive_wrapper_goes_to_the_quantile() -> None:
    """DPFedAvgAdaptive counts the clients that did not clip, as Andrew et al. do."""
    assert not _looks("server.DPFedAvgAdaptive")


def _looks(name: str) -> list[PrivacyFinding]:
    from bench.exchange.foreign import flower_games

    return list(flower_games._seen(name))


@FLOWER
@pytest.mark.parametrize(
    "name", ["DifferentialPrivacyClientSideFixedClipping", "server.DifferentialPrivacyServerSideFixedClipping"]
)
def test_flower_s_wrappers_clip_and_add_the_noise_that_they_say(name: str) -> None:
    """The mean of clipped updates, with noise of z C / n."""
    from bench.exchange.foreign import flower_games as games

    np.random.seed(1)  # noqa: NPY002  as the wrappers draw
    rows = games._rows(games.OVERSIZE * CANARY, games.CLIENTS)
    models = np.stack([games._round(name, rows, games.EQUAL, 0.5, games.CLIENTS)[0] for _ in range(40)])
    assert models.mean(axis=0) == pytest.approx(CANARY / games.CLIENTS, abs=5 * 0.05 / math.sqrt(40))
    assert models.std() == pytest.approx(0.05, rel=0.15)
