"""The audit's adversary: its likelihood ratio against plain Gaussian densities, the variance that it counts on."""

import math
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from scipy.stats import multivariate_normal
from torch import Tensor

from attacks.audit import Audit, beside_the_sum, left_over, target_tau_squared
from bench import registry
from bench.protocol import Delivered
from bench.threat import Game, RoundTranscript, RoundView, Saboteurs, choose_colluders, server_view
from defenses.niss import exchange

Scale = Literal["coordinate", "share"]
TARGET = torch.tensor([0])
SIGMA_SQUARED = 0.5


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_game(dim: int, num_shares: int, tau_squared: float | tuple[float, ...], scale: Scale = "coordinate") -> Game:
    canary = torch.randn(dim, generator=seeded(9), dtype=torch.float64)
    facts: dict[str, Any] = {"num_shares": num_shares, "tau_squared": tau_squared, "scale": scale, "dropout": 0.0}
    return Game(-canary, 2 * canary, 9, {**facts, "share_variance": SIGMA_SQUARED / num_shares})


def seen_of(game: Game, m: int, rho: float, active: bool = False, seed: int = 0, beside: bool = False) -> RoundView:
    """A round of NISS in which the target holds `with_` and everybody else nothing; `beside` it the sum of all."""
    clients, d = torch.arange(m), len(game.with_)
    colluders = choose_colluders(m, TARGET, rho, seeded(seed))
    mute = Saboteurs(TARGET, colluders).mute(clients) if active else None
    noise = exchange(
        num_clients=m,
        dim=d,
        sigma_squared=SIGMA_SQUARED,
        num_shares=game.parameters["num_shares"],
        tau_squared=torch.as_tensor(game.parameters["tau_squared"]),
        generator=seeded(1000 + seed),
        scale=game.parameters["scale"],
        dtype=torch.float64,
        mute=mute,
    )
    messages = noise.upload.clone()
    messages[0] += game.with_
    transcript = RoundTranscript(
        0, torch.zeros(d).double(), clients, messages, Delivered(messages, clients), noise, messages, mute
    )
    seen = server_view(transcript, TARGET, colluders, single_shares=True)
    return seen if beside else replace(seen, total=None)


def stripped(seen: RoundView) -> Tensor:
    assert seen.shares_sent is not None
    assert seen.shares_got is not None
    return (seen.estimate + seen.shares_sent - seen.shares_got)[0]


def covariance(seen: RoundView, game: Game) -> np.ndarray:
    """Sigma of the target's noise given the shares that colluders sent, share by share as a plain matrix.

    Each unknown share that it sent adds sigma^2 / v I, each unknown one that it got (1 + tau^2) sigma^2 / v I, each
    known one tau^2 diag(r^2), or tau^2 r r^T where one number scales it.
    """
    assert seen.num_sent is not None
    assert seen.num_got is not None
    assert seen.each_got is not None
    v, unit, tau_squared = (game.parameters[key] for key in ("num_shares", "share_variance", "tau_squared"))
    found = np.zeros((len(game.with_), len(game.with_)))
    for _ in range(v - int(seen.num_sent)):
        found += unit * np.eye(len(found))
    for _ in range(v - int(seen.num_got)):
        found += (1 + tau_squared) * unit * np.eye(len(found))
    for r in seen.each_got[0].numpy():
        found += tau_squared * (np.outer(r, r) if game.parameters["scale"] == "share" else np.diag(r**2))
    return found


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("rho", [0.25, 0.5, 0.75])
@pytest.mark.parametrize("tau_squared", [0.0, 0.6, 3.0])
@pytest.mark.parametrize("scale", ["coordinate", "share"])
def test_the_evidence_is_the_logarithm_of_the_likelihood_ratio(
    scale: Scale, tau_squared: float, rho: float, active: bool
) -> None:
    game = make_game(6, 4, tau_squared, scale)
    for seed in range(5):
        seen = seen_of(game, 9, rho, active, seed)
        sigma, message = covariance(seen, game), stripped(seen).numpy()
        density = [multivariate_normal(mean.numpy(), sigma).logpdf(message) for mean in (game.without, game.with_)]
        found = float(Audit(rho=rho, active=active).evidence(seen, game).sum())
        assert found == pytest.approx(density[1] - density[0], rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("tau_squared", [0.5, 2.0])
def test_of_everybody_colluding_the_diagonal_alone_is_left(tau_squared: float) -> None:
    """rho = 1, s for each coordinate: no share is unknown, and Sigma is tau^2 diag(sum of r^2)."""
    game = make_game(6, 4, tau_squared)
    seen = seen_of(game, 5, 1.0)
    assert left_over(seen, game) == 0
    sigma, message = covariance(seen, game), stripped(seen).numpy()
    density = [multivariate_normal(mean.numpy(), sigma).logpdf(message) for mean in (game.without, game.with_)]
    assert float(Audit(rho=1.0).evidence(seen, game).sum()) == pytest.approx(density[1] - density[0], rel=1e-6)


@pytest.mark.parametrize(
    ("scale", "tau_squared", "active"),
    [("share", 1.0, False), ("coordinate", 0.0, False), ("share", 0.0, False), ("coordinate", 1.0, True)],
)
def test_where_nothing_is_left_the_evidence_is_beyond_doubt(scale: Scale, tau_squared: float, active: bool) -> None:
    """Every game's evidence points to the input that was there, with thousands to one at least."""
    game = make_game(30, 4, tau_squared, scale)
    for seed in range(10):
        found = float(Audit(rho=1.0, active=active).evidence(seen_of(game, 5, 1.0, active, seed), game).sum())
        assert math.isfinite(found)
        assert found > 1000


@pytest.mark.parametrize("active", [False, True])
@pytest.mark.parametrize("rho", [0.2, 0.5, 1.0])
def test_left_over_is_the_variance_that_no_colluder_knows(rho: float, active: bool) -> None:
    """With known shares r taken out as far as their mean goes, tau^2 sum of r^2 and `left_over` remain a coordinate.

    11 clients that share with all others; squares over 40,000 independent coordinates, 6 standard errors: false alarm
    2e-9 each. Active colluders' shares are zeros, so that `left_over` is all.
    """
    game = make_game(40_000, 10, 0.7)
    seen = seen_of(game, 11, rho, active)
    assert seen.each_got is not None
    known = 0.7 * seen.each_got[0].square().sum(dim=0)
    away = (stripped(seen) - game.with_).square() - known
    error = float(away.std()) / math.sqrt(40_000)
    assert abs(float(away.mean()) - left_over(seen, game)) < 6 * error + 1e-12
    assert left_over(seen, game) == pytest.approx(SIGMA_SQUARED * (1 - rho) * 2.7)  # errata N5
    assert bool((known == 0).all()) is active


def test_tau_of_the_target_is_the_first_clients() -> None:
    assert target_tau_squared(make_game(3, 2, 0.4)) == 0.4
    assert target_tau_squared(make_game(3, 2, (0.1, 0.2, 0.3))) == 0.1


def test_every_client_may_have_a_tau_of_its_own() -> None:
    """The target's counts, and nobody else's."""
    own, common = make_game(6, 4, (0.6, 3.0, 3.0, 3.0, 3.0)), make_game(6, 4, 0.6)
    seen = seen_of(own, 5, 0.5)
    assert torch.equal(Audit(rho=0.5).evidence(seen, own), Audit(rho=0.5).evidence(seen, common))


def test_without_peer_messages_the_evidence_is_a_matched_filter() -> None:
    """Its sum times 1 / sigma^2 is the likelihood ratio of N(without, sigma^2 I) and N(with, sigma^2 I)."""
    canary = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    game = Game(torch.zeros(3).double(), canary, 9, {})
    message = torch.tensor([[0.3, 0.1, -0.2]], dtype=torch.float64)
    seen = RoundView(0, torch.zeros(3).double(), message, torch.ones(1).long())
    density = [multivariate_normal(mean.numpy(), 0.7).logpdf(message[0].numpy()) for mean in (game.without, canary)]
    assert float(Audit().evidence(seen, game).sum()) / 0.7 == pytest.approx(density[1] - density[0])
    assert torch.equal(Audit().recover(seen, game), message[0])


@pytest.mark.parametrize(("scale", "better"), [("share", True), ("coordinate", False)])
def test_the_message_is_recovered_by_projection_where_that_helps(scale: Scale, better: bool) -> None:
    game = make_game(400, 4, 1.0, scale)
    seen = seen_of(game, 5, 1.0)
    found = Audit(rho=1.0).recover(seen, game)
    error, plain = (float((guess - game.with_).norm() / game.with_.norm()) for guess in (found, stripped(seen)))
    assert torch.equal(found, stripped(seen)) is not better
    assert (error < 0.25) is better  # sqrt(v / d) = 0.1; squared Beta(2, 198): above 0.0625 with probability 2e-5
    assert plain > 0.25


# ----------------------------------------------------------------------------------------------- the sum of all uploads


def beside_covariance(m: int, tau_squared: float) -> np.ndarray:
    """Of the noise on a coordinate of the target's upload and of the sum of all uploads, edge by edge.

    An edge k -> l adds n to k's upload and -s n to l's, so that (1 - s) n is left in the sum; v = 1.
    """
    found = np.zeros((2, 2))
    for edge in range(m):  # 0: that which the target sent; 1: that which it got; the others show in the sum alone
        s_squared = 1 + tau_squared
        upload = {0: 1.0, 1: s_squared}.get(edge, 0.0)
        both = {0: 1 - 1, 1: s_squared - 1}.get(edge, 0.0)  # E[n (1 - s) n] = 0 and E[-s (1 - s)] = tau^2
        found += SIGMA_SQUARED * np.array([[upload, both], [both, tau_squared]])
    return found


@pytest.mark.parametrize("tau_squared", [0.1, 0.6, 3.0])
def test_beside_the_sum_the_evidence_is_the_likelihood_ratio_of_both(tau_squared: float) -> None:
    game = make_game(5, 4, tau_squared)
    sigma, generator = beside_covariance(9, tau_squared), seeded(3)
    own, total = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    difference, middle = game.with_ - game.without, (game.without + game.with_) / 2
    found = difference * beside_the_sum(own - middle, total - middle, game)
    for at in range(5):
        pair = np.array([float(own[at]), float(total[at])])
        logs = [multivariate_normal([float(x[at])] * 2, sigma).logpdf(pair) for x in (game.without, game.with_)]
        assert float(found[at]) == pytest.approx(logs[1] - logs[0])


def test_the_sum_has_the_covariance_that_is_counted_on() -> None:
    """9 clients, over 40,000 coordinates: products of noise within 6 standard errors, false alarm 2e-9 each."""
    game = make_game(40_000, 4, 0.6)
    seen = seen_of(game, 9, 0.0, beside=True)
    assert seen.total is not None
    noise = torch.stack([seen.estimate[0] - game.with_, seen.total - game.with_])
    expected = beside_covariance(9, 0.6)
    for row, column in ((0, 0), (0, 1), (1, 1)):
        products = noise[row] * noise[column]
        error = float(products.std()) / math.sqrt(40_000)
        assert abs(float(products.mean()) - expected[row, column]) < 6 * error


@pytest.mark.parametrize("scale", ["coordinate", "share"])
def test_without_factors_the_sum_hides_nothing_from_the_server_alone(scale: Scale) -> None:
    game = make_game(30, 4, 0.0, scale)
    for seed in range(5):
        assert float(Audit().evidence(seen_of(game, 9, 0.0, seed=seed, beside=True), game).sum()) > 1000


@pytest.mark.parametrize(
    ("rho", "tau_squared", "active", "dropout", "used"),
    [
        (0.0, 0.6, False, 0.0, True),  # nothing else to go by
        (0.5, 0.6, False, 0.0, False),  # 9 * 0.6 against half of 2.6
        (0.5, 0.1, False, 0.0, True),  # 9 * 0.1 against half of 2.1
        (0.5, 0.1, True, 0.0, False),  # zeros of colluders do not cancel
        (0.0, 0.1, False, 0.2, False),  # nor do the shares of clients that dropped out
    ],
)
def test_the_sum_is_used_where_it_hides_less(
    rho: float, tau_squared: float, active: bool, dropout: float, used: bool
) -> None:
    game = make_game(6, 8, tau_squared)
    game = replace(game, parameters={**game.parameters, "dropout": dropout})
    seen, attack = seen_of(game, 9, rho, active, beside=True), Audit(rho=rho, active=active)
    alone = attack.evidence(replace(seen, total=None), game)
    assert torch.equal(attack.evidence(seen, game), alone) is not used


@pytest.mark.parametrize("dim", [1, 100])
def test_the_canary_is_of_length_one(dim: int) -> None:
    first, again, other = (Audit(dim=dim).canary(seeded(seed)) for seed in (0, 0, 1))
    assert float(first.norm()) == pytest.approx(1.0)
    assert first.dtype == torch.float64
    assert torch.equal(first, again)
    assert dim == 1 or not torch.equal(first, other)
    assert Audit(dim=dim, direction="coordinate").canary(seeded()).tolist() == [1.0] + [0.0] * (dim - 1)


@pytest.mark.parametrize(
    ("direction", "facts", "gaussian"),
    [
        ("coordinate", {"scale": "coordinate", "tau_squared": 0.5}, False),
        ("coordinate", {"scale": "coordinate", "tau_squared": (0.5, 0.0)}, False),
        ("coordinate", {"scale": "coordinate", "tau_squared": 0.0}, True),
        ("dense", {"scale": "coordinate", "tau_squared": 0.5}, True),
        ("coordinate", {}, True),
    ],
)
@pytest.mark.parametrize("rho", [0.0, 0.5])
def test_a_single_coordinate_of_scaled_noise_is_not_gaussian(
    rho: float, direction: Literal["dense", "coordinate"], facts: dict[str, Any], gaussian: bool
) -> None:
    game = Game(torch.zeros(1), torch.zeros(1), 9, facts)
    assert Audit(rho=rho, direction=direction).is_gaussian(game) is gaussian


@pytest.mark.parametrize("wrong", [{"rho": -0.1}, {"rho": 1.1}, {"runs": 9}, {"dim": 0}, {"direction": "sideways"}])
def test_parameters_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Audit(**wrong)


def test_a_fit_is_made_of_what_adds_normal_noise_alone() -> None:
    """The tighter bound of a Gaussian fit stands for no other mechanism: not for flips of signs or shuffled votes."""
    fitted = {name for name in registry.names("defense") if registry.get("defense", name).gaussian}
    assert fitted == {"dp_fedavg", "central_dp_fedavg", "robust_dp_fedavg", "niss"}
