"""Robust DP-FedAvg: uploads and claim of DP-FedAvg whatever the rule, DP-FedAvg under the mean, the rule on updates."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench.federation.engine import Federation
from bench.protocol import Delivered, LocalRound, ServerRound, Setting, clip, plays_in_sums
from defenses.dp_fedavg import DPFedAvg
from defenses.fldetector import FLDetector
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.multi_krum import multi_krum
from defenses.nnm import nnm
from defenses.robust_dp_fedavg import RobustDPFedAvg
from defenses.trimmed_mean import trimmed_mean

M, DIM, F = 20, 7, 4
NOISE: dict[str, Any] = {"epsilon": 4.0, "delta": 1e-5, "zeta": 0.4}
Rounds = Callable[..., ServerRound]


def local_round(setting: Setting, updates: Tensor) -> LocalRound:
    weights = torch.full((len(updates),), 1 / len(updates), dtype=updates.dtype)
    broadcast = torch.linspace(-1, 1, updates.shape[1], dtype=updates.dtype)
    generator = torch.Generator().manual_seed(3)
    return LocalRound(0, torch.arange(len(updates)), setting, broadcast, updates, weights, generator)


def rows(dim: int = DIM) -> Tensor:
    return torch.randn(M, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


# ------------------------------------------------------------------------------------------------- under the mean


@pytest.mark.parametrize("attack", [None, SignFlip()], ids=["clean", "sign_flip"])
def test_under_the_mean_it_is_dp_fedavg_bit_for_bit(
    make_federation: Callable[..., Federation], final_model: Callable[[Federation], Tensor], attack: SignFlip | None
) -> None:
    """In sums, as a training cell plays it."""
    share = 0.2 if attack else 0.0
    mean, same = (
        final_model(make_federation(defense, attack, share))
        for defense in (DPFedAvg(**NOISE), RobustDPFedAvg(rule="fedavg", **NOISE))
    )
    assert torch.equal(mean, same)


def test_and_so_are_its_messages(make_setting: Callable[..., Setting], server_round: Rounds) -> None:
    setting, uploads, models = make_setting(), [], []
    for defense in (DPFedAvg(**NOISE), RobustDPFedAvg(rule="fedavg", **NOISE)):
        sent = defense.upload(local_round(setting, rows())).messages
        server = server_round(setting, torch.ones(DIM, dtype=torch.float64), M)
        uploads.append(sent)
        models.append(defense.aggregate(Delivered(sent, torch.arange(M)), server))
    assert torch.equal(*uploads)
    assert torch.equal(*models)


def test_a_round_is_played_in_sums_under_the_mean_alone(make_setting: Callable[..., Setting]) -> None:
    assert plays_in_sums(RobustDPFedAvg(rule="fedavg"), make_setting())
    assert not plays_in_sums(RobustDPFedAvg(), make_setting())


# -------------------------------------------------------------------------------------------------- under a rule


@pytest.mark.parametrize(
    ("rule", "parameters", "expected"),
    [
        ("median", {}, coordinate_median),
        ("trimmed_mean", {}, lambda x: trimmed_mean(x, F)),
        ("krum", {"num_selected": 3}, lambda x: krum(x, F, 3)),
        ("nnm", {"rule": "trimmed_mean"}, lambda x: trimmed_mean(nnm(x, F), F)),
    ],
)
def test_the_rule_gets_clipped_updates_with_m_times_the_noise(
    rule: str,
    parameters: dict[str, Any],
    expected: Callable[[Tensor], Tensor],
    make_setting: Callable[..., Setting],
    server_round: Rounds,
) -> None:
    defense, setting = RobustDPFedAvg(rule=rule, parameters=parameters, **NOISE), make_setting()
    local = local_round(setting, rows())
    noise = torch.randn(M, DIM, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    updates = clip(rows(), 0.4) + M * defense.sigma(setting) * noise
    server = server_round(setting, torch.ones(DIM, dtype=torch.float64), M)
    found = defense.aggregate(Delivered(defense.upload(local).messages, torch.arange(M)), server)
    torch.testing.assert_close(found, 1 + expected(updates))


def test_no_rule_changes_what_clients_send_or_what_is_claimed(make_setting: Callable[..., Setting]) -> None:
    plain, setting = DPFedAvg(**NOISE), make_setting(rounds=30)
    for rule in ("fedavg", "median", "krum", "geometric_median", "bucketing"):
        robust = RobustDPFedAvg(rule=rule, **NOISE)
        weights = torch.full((M,), 1 / M, dtype=torch.float64)
        assert torch.equal(robust.message(rows(), weights), plain.message(rows(), weights))
        sent = [one.upload(local_round(setting, rows())).messages for one in (plain, robust)]
        assert torch.equal(*sent)
        assert robust.claim(setting) == plain.claim(setting)
        assert robust.composed(setting) == plain.composed(setting)
        assert (robust.noise_variance(setting), robust.clip_norm()) == (plain.noise_variance(setting), 0.4)


def test_four_of_twenty_move_the_mean_as_far_as_they_like_and_the_median_no_further_than_the_honest(
    make_setting: Callable[..., Setting], server_round: Rounds
) -> None:
    """Of 20 sorted values the middle two are among the 16 honest, whatever the other four are."""
    setting = make_setting()
    sent = RobustDPFedAvg(**NOISE).upload(local_round(setting, rows())).messages
    honest = M * sent[F:]
    sent[:F] = 1e6
    server = server_round(setting, torch.zeros(DIM, dtype=torch.float64), M)
    mean, median = (
        RobustDPFedAvg(rule=rule, **NOISE).aggregate(Delivered(sent, torch.arange(M)), server)
        for rule in ("fedavg", "median")
    )
    assert bool((mean > 1e5).all())
    assert bool(((median >= honest.amin(dim=0)) & (median <= honest.amax(dim=0))).all())


# ------------------------------------------------------------------- how far one client moves a rule (docs/defenses.md)


@given(st.integers(0, 10**6), st.floats(0.1, 3.0), st.integers(0, 8))
def test_one_client_moves_an_aggregate_of_clipped_updates_no_further_than_the_page_says(
    seed: int, spread: float, f: int
) -> None:
    """19 updates no longer than 1; the client goes from one end of the ball to the other, the others anywhere in it."""
    n, draws = 19, torch.Generator().manual_seed(seed)
    before = clip(spread * torch.randn(n, 3, generator=draws, dtype=torch.float64), 1.0)
    before[0] /= before[0].norm()
    after = before.clone()
    after[0] = -before[0]
    bounds: dict[Callable[[Tensor], Tensor], float] = {
        lambda x: x.mean(dim=0): 2 / n,
        lambda x: trimmed_mean(x, f): 2 / (n - 2 * f),
        coordinate_median: 2.0,
        lambda x: multi_krum(x, f): min(2 * (f + 1) / (n - f), 2.0),
        lambda x: krum(x, f): 2.0,
    }
    for rule, bound in bounds.items():
        assert float((rule(after) - rule(before)).norm()) <= bound * (1 + 1e-9)


def test_the_trimmed_mean_moves_as_far_as_that() -> None:
    """Half of the others at each end, out of the way: the client's value is kept, wherever it is."""
    before = torch.tensor([[-1.0], *[[-1.0]] * 2, *[[0.0]] * 4, *[[1.0]] * 2], dtype=torch.float64)
    after = before.clone()
    after[0] = 1.0
    assert float(trimmed_mean(after, 2) - trimmed_mean(before, 2)) == pytest.approx(2 / (9 - 4))


# ------------------------------------------------------------------------------------------- what the rule says


def test_what_it_withstands_is_what_the_rule_withstands(make_setting: Callable[..., Setting]) -> None:
    setting = make_setting()
    assert not RobustDPFedAvg(rule="fedavg").tolerates(0.1, setting)
    assert RobustDPFedAvg(rule="median").tolerates(0.45, setting)
    assert RobustDPFedAvg(rule="trimmed_mean").tolerates(0.2, setting)
    assert not RobustDPFedAvg(rule="trimmed_mean").tolerates(0.25, setting)


def test_a_setting_that_the_rule_cannot_work_in_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="Krum"):
        RobustDPFedAvg(rule="krum").start(make_setting(assumed_byzantine=0.45))
    with pytest.raises(ValueError, match="NNM"):
        RobustDPFedAvg(rule="nnm").start(make_setting(assumed_byzantine=0.5))


@pytest.mark.parametrize("rule", ["robust_dp_fedavg", "niss", "dpbfl", "secure_aggregation", "rsa"])
def test_protocols_are_refused(rule: str) -> None:
    with pytest.raises(ValidationError, match=f"rule is '{rule}', but must be an aggregation rule"):
        RobustDPFedAvg(rule=rule)


def test_a_record_tells_the_rules_defaults_and_wrong_parameters_are_refused() -> None:
    assert RobustDPFedAvg(rule="krum").parameters["num_selected"] == 1
    assert RobustDPFedAvg(rule="fedavg").parameters == {}
    for rule, parameters in (("krum", {"num_selected": 0}), ("median", {"width": 1}), ("fedavg", {"width": 1})):
        with pytest.raises(ValidationError, match=next(iter(parameters))):
            RobustDPFedAvg(rule=rule, parameters=parameters)


def test_a_rule_that_remembers_clients_knows_them(
    make_federation: Callable[..., Federation], final_model: Callable[[Federation], Tensor]
) -> None:
    """With noise that does not show in float64 and a bound that clips nobody, it is the rule alone."""
    quiet = RobustDPFedAvg(rule="fldetector", epsilon=1e30, zeta=1e6)
    assert quiet.remembers_clients()
    found, expected = (
        final_model(make_federation(defense, SignFlip(), 0.2, dtype="float64", rounds=25))
        for defense in (quiet, FLDetector())
    )
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
