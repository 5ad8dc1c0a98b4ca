"""Zero shares: colluders that send zeros leave only what honest peers exchanged, on NISS's own upload (errata N4)."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.collusion import Collusion
from attacks.dlg import DLG
from attacks.zero_shares import ZeroShares
from bench.protocol import LocalRound, Setting, clip
from bench.threat import RoundTranscript, RoundView, Saboteurs, choose_colluders, server_view, strip
from defenses.dp_fedavg import DPFedAvg
from defenses.niss import NISS

M, D = 11, 20_000
CLIENTS = torch.arange(M)
SETTING = Setting(M, M, D, 1, 0.1, None, 0.0, 1e-6)
UPDATES = torch.randn(M, D, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def niss(**parameters: Any) -> NISS:
    """Every client shares with all others, so that exactly rho of its peers collude."""
    return NISS(**{"num_shares": M - 1, "zeta": 5.0, **parameters})


def seen_by(attack: Collusion, defense: DPFedAvg, targets: Tensor = CLIENTS) -> RoundView:
    colluders = choose_colluders(M, targets, attack.collusion(), torch.Generator().manual_seed(2))
    mute = Saboteurs(targets, colluders).mute(CLIENTS) if attack.active else None
    weights, broadcast = torch.full((M,), 1 / M, dtype=torch.float64), torch.zeros(D, dtype=torch.float64)
    local = LocalRound(0, CLIENTS, SETTING, broadcast, UPDATES, weights, torch.Generator().manual_seed(3), mute)
    upload = defense.upload(local)
    delivered = defense.deliver(upload.messages, torch.Generator().manual_seed(4))
    transcript = RoundTranscript(0, broadcast, CLIENTS, upload.messages, delivered, upload.peers, UPDATES, mute)
    return server_view(transcript, targets, colluders)


def left(seen: RoundView, defense: DPFedAvg) -> tuple[float, float]:
    """Variance of the noise that is left, over sigma_k^2, and its standard error over independent coordinates."""
    message = clip(UPDATES[: len(seen.estimate)], defense.zeta) / M
    per_coordinate = (strip(seen) - message).square().mean(dim=0) / defense.noise_variance(SETTING)
    return float(per_coordinate.mean()), float(per_coordinate.std()) / math.sqrt(D)


@pytest.mark.parametrize("scale", ["coordinate", "share"])
@pytest.mark.parametrize("tau_squared", [0.0, 1.0, 50.0])
def test_of_a_target_whom_all_others_betray_nothing_is_hidden(scale: str, tau_squared: float) -> None:
    defense = niss(tau_squared=tau_squared, scale=scale, num_shares=4)
    target = torch.tensor([0])
    seen = seen_by(ZeroShares(rho=1.0), defense, target)
    torch.testing.assert_close(strip(seen), clip(UPDATES[target], 5.0) / M, rtol=0, atol=1e-12)
    curious, _ = left(seen_by(Collusion(rho=1.0), defense, target), defense)
    assert curious < 1e-20 if tau_squared == 0 else curious > 0.02 * tau_squared  # chi-squared of 4: false alarm 8e-4


@pytest.mark.parametrize("rho", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("tau_squared", [0.0, 0.6, 2.0])
def test_what_is_left_is_what_honest_peers_exchanged(tau_squared: float, rho: float) -> None:
    """(1 - rho)(2 + tau^2), and rho tau^2 more under Theorem 3's curious colluders; false alarm 2e-9 each."""
    defense = niss(tau_squared=tau_squared)
    silent, error = left(seen_by(ZeroShares(rho=rho), defense), defense)
    assert abs(silent - (1 - rho) * (2 + tau_squared)) < 6 * error
    curious, error = left(seen_by(Collusion(rho=rho), defense), defense)
    assert abs(curious - (1 - rho) * (2 + tau_squared) - rho * tau_squared) < 6 * error


def test_a_fraction_of_none_changes_nothing() -> None:
    defense = niss(tau_squared=1.0)
    alone, silent = seen_by(Collusion(rho=0.0), defense), seen_by(ZeroShares(rho=0.0), defense)
    assert torch.equal(alone.estimate, silent.estimate)


def test_noise_of_ones_own_stays() -> None:
    """DP-FedAvg exchanges nothing; 6 standard errors, false alarm 2e-9."""
    defense = DPFedAvg(zeta=5.0)
    found, error = left(seen_by(ZeroShares(rho=1.0), defense), defense)
    assert abs(found - 1) < 6 * error


def test_the_attack_is_active_collusion() -> None:
    attack = ZeroShares(rho=0.7, starts=2)
    assert (attack.collusion(), attack.single_shares, attack.active) == (0.7, False, True)
    assert attack.alone() == DLG(starts=2)
