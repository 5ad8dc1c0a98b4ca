"""Collusion against noise shares: Theorem 3's variance stays in a message; at tau^2 = 0 and rho = 1, nothing."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from attacks.collusion import Collusion
from bench.privacy.papers.noise_sharing import niss_collusion_variance
from bench.protocol import Delivered
from bench.threat import RoundTranscript, choose_colluders, server_view, strip
from defenses.niss import NISS, exchange


@pytest.mark.parametrize("rho", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("tau_squared", [0.0, 0.6, 2.0])
def test_colluders_leave_the_variance_of_theorem_3(tau_squared: float, rho: float) -> None:
    """11 clients that all share with one another, so that exactly rho of a target's 10 peers collude.

    6 standard errors over 20,000 independent coordinates: false alarm 2e-9 each.
    """
    clients = torch.arange(11)
    noise = exchange(11, 20_000, 0.2, 10, tau_squared, torch.Generator().manual_seed(0), dtype=torch.float64)
    updates = torch.randn(11, 20_000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    messages = updates + noise.upload
    broadcast = torch.zeros(20_000, dtype=torch.float64)
    transcript = RoundTranscript(0, broadcast, clients, messages, Delivered(messages, clients), noise, updates)
    colluders = choose_colluders(11, clients, rho, torch.Generator().manual_seed(2))
    left = strip(server_view(transcript, clients, colluders)) - updates
    per_coordinate = left.square().mean(dim=0)
    expected = niss_collusion_variance(0.2, tau_squared, rho)
    error = float(per_coordinate.std()) / math.sqrt(20_000)
    assert abs(float(per_coordinate.mean()) - expected) < 6 * error + 1e-12


@pytest.mark.parametrize("num_shares", [1, 3, 7])
def test_everybody_against_one_takes_all_noise_out_at_tau_0(num_shares: int) -> None:
    clients = torch.arange(8)
    noise = exchange(8, 100, 1.0, num_shares, 0.0, torch.Generator().manual_seed(3), dtype=torch.float64)
    messages = 7.0 + noise.upload
    delivered = Delivered(messages, clients)
    transcript = RoundTranscript(0, torch.zeros(100).double(), clients, messages, delivered, noise, messages)
    everybody = choose_colluders(8, clients, 1.0, torch.Generator())
    found = strip(server_view(transcript, clients, everybody))
    torch.testing.assert_close(found, torch.full_like(found, 7.0))
    assert float((messages - 7).abs().max()) > 1


@pytest.mark.parametrize("model", ["softmax", "lenet"])
def test_full_collusion_undoes_niss_without_scaling(model: str, invert: Callable[..., Any]) -> None:
    result = invert(NISS(num_shares=3), Collusion(rho=1.0), model)
    assert int((result.psnr > 20).sum()) >= 3
    assert bool(result.label_recovered.all())


@pytest.mark.parametrize(
    ("tau_squared", "rho"), [(0.0, 0.0), (0.0, 0.5), (1.0, 1.0)], ids=["alone", "half", "all, scaled shares"]
)
def test_less_collusion_or_scaled_shares_leave_too_much_noise(
    tau_squared: float, rho: float, invert: Callable[..., Any]
) -> None:
    result = invert(NISS(num_shares=3, tau_squared=tau_squared), Collusion(rho=rho), "softmax")
    assert float(result.psnr.max()) < 10


@pytest.mark.parametrize("rho", [-0.1, 1.1])
def test_rho_out_of_range_is_refused(rho: float) -> None:
    with pytest.raises(ValueError, match="rho"):
        Collusion(rho=rho)
