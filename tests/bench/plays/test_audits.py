"""Audits: they find what is planted, and leave alone what keeps its promise; the game is the defense's own code.

Each audit is a bound at 95 % confidence, so that one of 20 right mechanisms may look broken: of the seeds 0 to 19,
chosen beforehand, at most `ALLOWED` may. At a level of exactly 5 % more do with probability 0.26 %.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from scipy.stats import beta, norm
from torch import Tensor

from attacks.audit import Audit
from bench import registry
from bench.base import rng
from bench.federation.roles import setting_of
from bench.federation.rounds import Sides
from bench.plays import audit as audits
from bench.plays.audit import Round, inputs, message_of
from bench.plays.cell import run_cell
from bench.plays.findings import Task, build_attack, build_defense
from bench.privacy.analysis.gaussian import gaussian_delta, gaussian_epsilon, gaussian_sigma
from bench.privacy.analysis.local import local_epsilon
from bench.privacy.audit import audit_epsilon, audit_gaussian_epsilon, judge
from bench.protocol import Defense, LocalRound, Setting, Upload, clip
from bench.records import Record
from bench.suite import Cell, Part
from bench.threat import strip
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import randomize
from defenses.ldpbfl import LDPBFL
from tests.cases import slow

SEEDS, PLANTED_SEEDS, ALLOWED = range(20), range(3), 4
M = 6  # clients
NISS = {"name": "niss", "num_shares": 4, "tau_squared": 1.0}
Make = Callable[..., Any]
Play = Callable[..., Record]


@pytest.fixture(scope="session")
def audit(play: Play) -> Callable[..., Record]:
    """The record of an audit of a defense with M clients; keywords are the attack's."""

    def record(
        defense: dict[str, Any], seed: int = 0, federation: dict[str, Any] | None = None, **attack: Any
    ) -> Record:
        found = play(defense, {"name": "audit", **attack}, seed, **{"clients": M, **(federation or {})})
        assert (found.status, found.error) == ("ok", None)
        return found

    return record


def bounds(record: Record) -> tuple[float, float]:
    """(audited, claimed) epsilon; the audit's own number is the claim's."""
    assert record.privacy.audited is not None
    assert record.privacy.claimed is not None
    assert record.privacy.audited.epsilon == record.metrics["epsilon_audited"]
    audited, claimed = record.privacy.audited.epsilon, record.privacy.claimed.epsilon
    assert audited is not None
    assert claimed is not None
    return audited, claimed


# ---------------------------------------------------------------------------------------------------- planted: found


class HalfTheNoise(DPFedAvg):
    def upload(self, local: LocalRound) -> Upload:
        update = clip(local.updates, self.zeta)
        n = self.sigma(local.setting) / 2 * torch.randn(update.shape, generator=local.generator, dtype=update.dtype)
        return Upload(local.weights[:, None] * update + n)


class ForgetsToClip(DPFedAvg):
    def upload(self, local: LocalRound) -> Upload:
        shape, dtype = local.updates.shape, local.updates.dtype
        n = self.sigma(local.setting) * torch.randn(shape, generator=local.generator, dtype=dtype)
        return Upload(local.weights[:, None] * local.updates + n)


class AThirdOfGamma(LDPBFL):
    def upload(self, local: LocalRound) -> Upload:
        return Upload(randomize(torch.sign(-local.updates), self.gamma / 3, local.generator))


PLANTED: dict[str, type[Defense]] = {
    "half_the_noise": HalfTheNoise,
    "forgets_to_clip": ForgetsToClip,
    "a_third_of_gamma": AThirdOfGamma,
}


@pytest.fixture
def _planted(_registry: None) -> None:
    for name, cls in PLANTED.items():
        registry.register("defense", name)(cls)


@pytest.mark.usefixtures("_planted")
@pytest.mark.parametrize("seed", PLANTED_SEEDS)
@pytest.mark.parametrize(
    ("defense", "attack"),
    [
        ({"name": "half_the_noise"}, {"runs": 400, "dim": 20}),
        ({"name": "half_the_noise", "epsilon": 4.0, "neighbours": "add_remove"}, {"runs": 400, "dim": 20}),
        ({"name": "half_the_noise", "epsilon": 4.0}, {"runs": 400, "dim": 20, "direction": "coordinate"}),
        ({"name": "forgets_to_clip"}, {"runs": 100, "dim": 20}),
        ({"name": "forgets_to_clip", "epsilon": 1.0, "neighbours": "add_remove"}, {"runs": 100, "dim": 20}),
        ({"name": "a_third_of_gamma"}, {"runs": 50, "dim": 40}),
        ({**NISS, "scale": "share"}, {"runs": 100, "dim": 100, "rho": 1.0}),
        ({**NISS, "tau_squared": 50.0, "scale": "share", "epsilon": 1.0}, {"runs": 100, "dim": 100, "rho": 1.0}),
        (NISS, {"runs": 100, "dim": 20, "rho": 1.0, "active": True}),
        ({**NISS, "tau_squared": 0.0}, {"runs": 100, "dim": 20}),  # the sum of all uploads has no noise at all
    ],
    ids=lambda value: " ".join(f"{key}={given}" for key, given in value.items()) if isinstance(value, dict) else None,
)
def test_a_broken_promise_is_found(audit: Play, defense: dict[str, Any], attack: dict[str, Any], seed: int) -> None:
    audited, claimed = bounds(audit(defense, seed, **attack))
    assert audited > claimed


@pytest.mark.parametrize("seed", PLANTED_SEEDS)
def test_few_shares_break_niss_at_the_limit_of_its_claim(audit: Play, seed: int) -> None:
    """Errata N4 beyond single coordinates: at rho = (1 + tau^2) / 2 the noise is sigma^2 on average only.

    What a colluder sees of a canary goes by the mean of 1 / variance, v / (v - 2) over sigma^2: without bound at v = 2.
    """
    record = audit({**NISS, "num_shares": 2, "epsilon": 4.0}, seed, rho=1.0, runs=400, dim=50)
    audited, claimed = bounds(record)
    assert record.privacy.claimed is not None
    assert record.privacy.claimed.colluders == 1.0  # the claim is meant for all of them
    assert audited > claimed


@pytest.mark.parametrize("seed", PLANTED_SEEDS)
def test_a_single_share_breaks_niss_coordinate_by_coordinate(audit: Play, seed: int) -> None:
    attack = {"direction": "coordinate", "runs": 600, "dim": 1, "rho": 1.0}
    record = audit({**NISS, "num_shares": 1, "epsilon": 1.0}, seed, federation={"clients": 2}, **attack)
    audited, claimed = bounds(record)
    assert audited > claimed
    assert record.privacy.audited is not None
    assert "Clopper-Pearson" in record.privacy.audited.source  # no Gaussian is fit to what is none


# ----------------------------------------------------------------------------------------------- kept: left in peace


@pytest.mark.parametrize(
    ("defense", "federation", "attack", "least"),
    [
        ({"name": "dp_fedavg", "epsilon": 1.0}, {}, {"runs": 60, "dim": 5}, 0.0),
        slow({"name": "dp_fedavg", "epsilon": 4.0}, {}, {"runs": 200, "dim": 5}, 0.3),
        ({"name": "dp_fedavg", "epsilon": 10.0}, {}, {"runs": 60, "dim": 5}, 0.3),
        slow({"name": "dp_fedavg", "epsilon": 4.0, "neighbours": "add_remove"}, {}, {"runs": 200, "dim": 5}, 0.3),
        ({"name": "ldpbfl"}, {}, {"runs": 50, "dim": 80}, 0.9),
        slow({"name": "ldpbfl", "gamma": 0.8}, {}, {"runs": 50, "dim": 80}, 0.7),
        ({"name": "dpbfl", "gamma": 0.8}, {"clients": 200, "delta": 0.05}, {"runs": 40, "dim": 20}, 0.0),
        ({**NISS, "epsilon": 4.0}, {}, {"runs": 30, "dim": 20, "rho": 0.4}, 0.0),
        slow({**NISS, "epsilon": 4.0, "scale": "share"}, {}, {"runs": 30, "dim": 20, "rho": 0.2}, 0.0),
    ],
    ids=lambda value: " ".join(f"{key}={given}" for key, given in value.items()) if isinstance(value, dict) else None,
)
def test_a_promise_that_is_kept_is_rarely_doubted(
    audit: Play, defense: dict[str, Any], federation: dict[str, Any], attack: dict[str, Any], least: float
) -> None:
    """`least`: what the median reaches of the claim, so that silence is not for want of trying."""
    found = [bounds(audit(defense, seed, federation, **attack)) for seed in SEEDS]
    claimed = found[0][1]
    assert sum(audited > claimed for audited, _ in found) <= ALLOWED
    assert float(np.median([audited for audited, _ in found])) >= least * claimed


def deltas(epsilon: float, mus: np.ndarray) -> np.ndarray:
    """Of Gaussian mechanisms of these mu (Balle and Wang 2018, Theorem 8), all at once."""
    above, below = mus / 2 - epsilon / mus, -mus / 2 - epsilon / mus
    return norm.cdf(above) - np.exp(epsilon + norm.logcdf(below))


def test_a_gaussian_fit_to_scaled_shares_stays_below_their_own_epsilon(audit: Play) -> None:
    """With s for each coordinate the noise is Gaussian in each game, but not the same in all: the fit is no more.

    The adversary knows the r, which say nothing of the input: delta is the mean over r of a Gaussian's delta, at
    mu^2 = sum of Delta_j^2 / (tau^2 sum of r_ij^2) (rho = 1). Over 4,000 draws of r its epsilon is
    5.1 where 4 is claimed.
    """
    v, dim = 8, 50
    generator, sigma = np.random.default_rng(1), gaussian_sigma(4.0, 1e-4, 1.0)
    direction = generator.normal(size=(4000, dim))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    variance = sigma**2 / v * generator.chisquare(v, size=direction.shape)
    mus = np.sqrt((direction**2 / variance).sum(axis=1))
    truth = brentq(lambda e: float(deltas(e, mus).mean()) - 1e-4, 4.0, 8.0)
    assert deltas(4.0, mus[:3]).tolist() == pytest.approx([gaussian_delta(4.0, 1 / mu, 1.0) for mu in mus[:3]])
    assert truth == pytest.approx(5.1, abs=0.2)
    defense = {**NISS, "num_shares": v, "epsilon": 4.0}
    records = [audit(defense, seed, {"clients": 9}, rho=1.0, runs=30, dim=dim) for seed in SEEDS[:10]]
    assert sum(bounds(record)[0] > truth for record in records) <= 3  # at 5 %, more with probability 0.1 %


def test_scalar_factors_leave_an_error_of_sqrt_v_over_d(audit: Play) -> None:
    """Errata N2: the mean of 40 relative errors, whose squares are Beta(v / 2, (d - v) / 2), within 6 standard errors.

    The two canaries are one direction and its opposite, so that the errors of the games are independent.
    """
    record = audit({**NISS, "scale": "share"}, rho=1.0, runs=20, dim=400)
    law = beta(2, 198)
    mean, square = law.expect(math.sqrt), law.mean()
    assert square == pytest.approx(4 / 400)
    assert abs(record.metrics["estimate_error"] - mean) < 6 * math.sqrt((square - mean**2) / 40)


# ------------------------------------------------------------------------------------------------------------ the game


def game_setting(make_cell: Make, defense: dict[str, Any], dim: int) -> tuple[Defense, Setting]:
    cell = make_cell(defense, {"name": "audit"}, clients=M)
    setting = setting_of(cell.federation, dim, 0.25)
    return build_defense(cell), setting


@pytest.mark.parametrize("neighbours", ["replace", "add_remove"])
@pytest.mark.parametrize("name", ["dp_fedavg", "niss"])
def test_the_two_inputs_are_a_sensitivity_apart(make_cell: Make, name: str, neighbours: str) -> None:
    defense, setting = game_setting(make_cell, {"name": name, "neighbours": neighbours, "zeta": 0.7}, dim=30)
    assert isinstance(defense, DPFedAvg)
    claim, direction = defense.claim(setting), torch.nn.functional.normalize(torch.arange(1.0, 31).double(), dim=0)
    without, with_ = inputs(defense, claim, direction)
    sent = [message_of(defense, setting, update) for update in (without, with_)]
    assert float((sent[1] - sent[0]).norm()) == pytest.approx(defense.sensitivity(setting))
    assert float(with_.norm()) == pytest.approx(7.0)  # longer than the bound, so that clipping is put to the test
    assert float(sent[0].norm()) == pytest.approx(0.0 if neighbours == "add_remove" else 0.7 / M)


@pytest.mark.parametrize("name", ["dpbfl", "ldpbfl"])
def test_signs_differ_in_every_coordinate(make_cell: Make, name: str) -> None:
    defense, setting = game_setting(make_cell, {"name": name}, dim=4)
    claim = defense.claim(setting)
    assert claim is not None
    sent = [message_of(defense, setting, update) for update in inputs(defense, claim, torch.zeros(4))]
    assert [message.tolist() for message in sent] == [[-1.0] * 4, [1.0] * 4]


def view_of(make_cell: Make, defense: dict[str, Any], update: Tensor, seed: int = 0, **attack: Any) -> tuple[Any, Any]:
    """The adversary's view of a game with this update, and the message that it makes before any noise."""
    built, setting = game_setting(make_cell, defense, len(update))
    match = Round(Sides.of(built), setting, Audit(dim=len(update), **attack), seed)
    return match.view(update, rng.generator(seed, "game")), message_of(built, setting, update)


@pytest.mark.parametrize(("tau_squared", "active"), [(0.0, False), (0.0, True), (3.0, True)])
def test_colluders_strip_the_defenses_own_noise(make_cell: Make, tau_squared: float, active: bool) -> None:
    update = torch.linspace(-1, 1, 10, dtype=torch.float64)
    defense = {**NISS, "tau_squared": tau_squared}
    seen, message = view_of(make_cell, defense, update, rho=1.0, active=active)
    assert float((seen.estimate[0] - message).norm()) > 1e-3
    torch.testing.assert_close(strip(seen)[0], message, rtol=0, atol=1e-12)


def test_the_channel_is_the_defenses_own(make_cell: Make) -> None:
    update = -torch.ones(5, dtype=torch.float64)
    shuffled, _ = view_of(make_cell, {"name": "dpbfl"}, update, rho=0.4)
    linked, _ = view_of(make_cell, {"name": "ldpbfl"}, update, rho=0.4)
    assert (shuffled.hidden_among.tolist(), linked.hidden_among.tolist()) == ([M - 2], [1])
    bare, message = view_of(make_cell, {"name": "ldpbfl", "gamma": 0.0}, update)
    assert torch.equal(bare.estimate[0], message)


def test_every_game_has_randomness_of_its_own(make_cell: Make) -> None:
    """Noise of 200 games of 3 coordinates: as many different numbers, of variance sigma_k^2 (chi-squared, 1e-9)."""
    built, setting = game_setting(make_cell, {"name": "dp_fedavg"}, 3)
    match, seen = Round(Sides.of(built), setting, Audit(dim=3), 0), []
    for run in range(200):
        view = match.view(torch.zeros(3, dtype=torch.float64), rng.generator(0, "audit", 0, run))
        seen.append(view.estimate[0])
    noise = torch.stack(seen)
    assert len(noise.unique()) == 600
    assert isinstance(built, DPFedAvg)
    assert 407 < float(noise.square().sum()) / built.sigma(setting) ** 2 < 836  # chi-squared of 600: 5e-10 on each side


def test_no_two_games_share_a_generator(audit: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    view = Round.view

    def spy(match: Round, update: Tensor, generator: torch.Generator) -> Any:
        seeds.append(generator.initial_seed())
        return view(match, update, generator)

    monkeypatch.setattr(Round, "view", spy)
    audit({"name": "dp_fedavg"}, runs=30, dim=2)
    assert len(seeds) == len(set(seeds)) == 60  # of either world


# ------------------------------------------------------------------------------------------------------------ verdicts


def test_a_verdict_has_the_error_rates_that_it_rests_on() -> None:
    """Odd rows: 10 of 50 above the threshold without, 45 with the canary."""
    without = np.repeat(np.arange(50) < 10, 2).astype(float)
    with_ = np.repeat(np.arange(50) < 45, 2).astype(float)
    for gaussian, alone in ((False, audit_epsilon), (True, audit_gaussian_epsilon)):
        verdict = judge(without, with_, 1e-3, gaussian=gaussian)
        assert (verdict.false_positive_rate, verdict.true_positive_rate) == (0.2, 0.9)
        assert verdict.epsilon == alone(without, with_, 1e-3) > 0
        perfect = judge(np.zeros(100), np.ones(100), 1e-3, gaussian=gaussian)
        assert verdict.limit == perfect.limit == perfect.epsilon > verdict.epsilon


def test_the_claim_of_a_fit_is_the_known_mechanisms(audit: Play) -> None:
    """An audit of 2,000 games comes within a fifth of the epsilon of the noise that is really there."""
    record = audit({"name": "dp_fedavg"}, runs=2000, dim=3)
    audited, claimed = bounds(record)
    sigma, sensitivity = record.derived["sigma_k"], record.derived["sensitivity"]
    assert gaussian_epsilon(sigma, 1e-4, sensitivity) == pytest.approx(claimed)
    assert 0.8 * claimed < audited < claimed


# ----------------------------------------------------------------------------------------------------------- the record


def test_a_record_holds_the_audit_in_the_claims_own_unit(audit: Play) -> None:
    record = audit(NISS, rho=0.4, runs=50, dim=20)
    claimed, audited = record.privacy.claimed, record.privacy.audited
    assert claimed is not None
    assert audited is not None
    assert (record.cell.kind, record.cell.rho, record.cell.column) == ("audit", 0.4, "audit rho=0.4")
    assert (audited.unit, audited.delta, audited.neighbours) == (claimed.unit, claimed.delta, claimed.neighbours)
    assert (audited.colluders, audited.reason) == (0.4, None)
    assert audited.source == "audit: 50 games a world, fit of a Gaussian mechanism, 95% confidence"
    rates = {"true_positive_rate", "false_positive_rate", "epsilon_provable", "epsilon_provable_upload"}
    assert set(record.metrics) == {"epsilon_audited", "epsilon_audited_upload", "audit_runs", "estimate_error", *rates}
    assert record.metrics["epsilon_audited_upload"] == record.metrics["epsilon_audited"]
    assert (record.curve, record.files, record.psnr, record.within_claim) == ([], {}, [], True)
    assert Record.model_validate_json(record.model_dump_json()) == record


def test_a_claim_per_coordinate_is_audited_per_coordinate(audit: Play) -> None:
    """One coordinate says no more than Theorem 4 admits; all of an upload's together say much more."""
    record = audit({"name": "ldpbfl"}, runs=100, dim=40)
    assert record.metrics["audit_runs"] == 4000
    assert "estimate_error" not in record.metrics
    assert record.privacy.audited is not None
    assert record.privacy.audited.source == "audit: 4,000 games a world, Clopper-Pearson, 95% confidence"
    assert record.privacy.audited.delta == 0
    assert record.metrics["epsilon_audited_upload"] > record.metrics["epsilon_audited"]
    assert record.metrics["true_positive_rate"] - record.metrics["false_positive_rate"] > 0.6
    assert local_epsilon(0.283) == bounds(record)[1]


def test_a_void_claim_is_audited_all_the_same(audit: Play) -> None:
    """Corollary 1 says nothing of 6 clients; colluders of all others see what LDPBFL shows."""
    record = audit({"name": "dpbfl"}, rho=1.0, runs=100, dim=40)
    assert record.privacy.claimed is not None
    assert record.privacy.claimed.epsilon is None
    assert record.privacy.audited is not None
    assert record.privacy.audited.epsilon == pytest.approx(local_epsilon(0.283), rel=0.2)


def test_a_defense_without_a_claim_has_nothing_to_audit(make_cell: Make, make_task: Callable[..., Task]) -> None:
    cell: Cell = make_cell(NISS, {"name": "audit"})
    record = run_cell(
        make_task(cell.model_copy(update={"defense": Part(name="fedavg", version=1, parameters={})}))
    ).record
    assert record.status == "failed"
    assert record.error == "ValueError: fedavg claims no privacy: there is nothing to audit"


@pytest.mark.usefixtures("_global_generators")
@pytest.mark.parametrize(
    "defense", [{"name": "dp_fedavg"}, {**NISS, "scale": "share"}, NISS, {"name": "dpbfl"}, {"name": "ldpbfl"}], ids=str
)
def test_a_cell_gives_the_same_record_again(audit: Play, but_for_times: Make, defense: dict[str, Any]) -> None:
    given = {"rho": 0.4, "runs": 20, "dim": 20, "active": defense["name"] == "niss"}
    first = audit(defense, **given)
    assert but_for_times(audit(defense, **given)) == but_for_times(first)
    other = audit(defense, seed=1, **given)
    assert but_for_times(other)["metrics"] != but_for_times(first)["metrics"] or defense["name"] == "dpbfl"


def test_an_audit_needs_no_data_and_no_model(audit: Play) -> None:
    plain = audit(NISS, runs=20, dim=20)
    for changes in ({"model": "mlp"}, {"partition": "sorted"}, {"lr": 0.3}):
        assert audit(NISS, federation=changes, runs=20, dim=20).metrics == plain.metrics


def test_the_attack_of_a_cell_is_built_with_its_parameters(make_cell: Make) -> None:
    cell = make_cell(NISS, {"name": "audit", "rho": 0.5, "active": True, "runs": 30, "dim": 7})
    assert cell.attack is not None
    built = build_attack(cell.attack)
    assert isinstance(built, Audit)
    assert (built.collusion(), built.sabotages(), built.size()) == (0.5, True, (30, 7))
    assert audits.CONFIDENCE == 0.95
