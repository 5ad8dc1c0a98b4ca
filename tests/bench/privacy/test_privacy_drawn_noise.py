"""NISS's noise drawn at the sum against the sum of the noise of all shares."""

from typing import Any

import pytest
import torch
from scipy.stats import chi2, ks_1samp, ks_2samp
from torch import Tensor

from bench.privacy.papers import drawn_noise
from bench.privacy.papers.drawn_noise import niss_drawn_noise
from defenses.niss import exchange
from tests.cases import slow


def drawn(seed: int = 0, **changes: Any) -> Tensor:
    given: dict[str, Any] = {
        "dim": 40_000,
        "num_honest": 6,
        "num_clients": 6,
        "share_variance": 0.1,
        "num_shares": 5,
        "tau_squared": 0.5,
        "per_share": False,
    }
    return niss_drawn_noise(**{**given, **changes}, generator=torch.Generator().manual_seed(seed))


def exchanged(num_honest: int, num_shares: int, tau_squared: float, scale: Any, seed: int, dim: int) -> Tensor:
    """The noise of the honest clients' uploads, added up, from all shares of an exchange among six clients."""
    generator = torch.Generator().manual_seed(seed)
    noise = exchange(6, dim, 0.1 * num_shares, num_shares, tau_squared, generator, scale, torch.float64)
    return noise.upload[:num_honest].sum(dim=0)


@pytest.mark.parametrize("num_honest", [6, 5, 3, 1])
@pytest.mark.parametrize("tau_squared", [0.0, 0.5, 2.0])
def test_noise_drawn_at_the_sum_is_distributed_as_that_of_all_shares(num_honest: int, tau_squared: float) -> None:
    """Everybody shares with everybody, so that the graph is no accident: Kolmogorov-Smirnov, false alarm 1e-7 each."""
    found = drawn(num_honest=num_honest, tau_squared=tau_squared)
    if num_honest == 6 and tau_squared == 0:
        assert bool((found == 0).all())
        return
    expected = exchanged(num_honest, 5, tau_squared, "coordinate", seed=1, dim=40_000)
    assert ks_2samp(found.numpy(), expected.numpy()).pvalue > 1e-7


@pytest.mark.parametrize(("num_honest", "num_shares"), [slow(6, 2), (4, 2), slow(4, 5)])
def test_one_factor_a_share_and_random_graphs_give_the_same_noise(num_honest: int, num_shares: int) -> None:
    """One coordinate from each of 4,000 exchanges: Kolmogorov-Smirnov, false alarm 1e-7 each."""
    for scale in ("share", "coordinate"):
        changes = {"num_honest": num_honest, "num_shares": num_shares, "per_share": scale == "share", "dim": 1}
        found = torch.cat([drawn(seed, **changes) for seed in range(4000)])
        expected = torch.cat([exchanged(num_honest, num_shares, 0.5, scale, 10_000 + seed, 1) for seed in range(4000)])
        assert ks_2samp(found.numpy(), expected.numpy()).pvalue > 1e-7


@pytest.mark.parametrize("num_honest", [6, 1])
@pytest.mark.parametrize("tau_squared", [0.5, 2.0])
def test_with_one_share_each_it_is_the_noise_of_that_share(num_honest: int, tau_squared: float) -> None:
    """All six, or one who got a single share, from a client that forges: n - (1 + tau z) r. False alarm 1e-7 each."""
    found = drawn(num_honest=num_honest, num_shares=1, tau_squared=tau_squared)
    expected = exchanged(num_honest, 1, tau_squared, "coordinate", seed=1, dim=40_000)
    assert ks_2samp(found.numpy(), expected.numpy()).pvalue > 1e-7
    each = 0.1 * (tau_squared if num_honest == 6 else 2 + tau_squared)
    assert float(found.var()) == pytest.approx(num_honest * each, rel=0.1)  # over 5 standard errors


def test_one_factor_for_one_share_is_drawn_once() -> None:
    """One coordinate from each of 4,000 exchanges: Kolmogorov-Smirnov, false alarm 1e-7."""
    changes = {"num_honest": 1, "num_shares": 1, "per_share": True, "dim": 1, "tau_squared": 2.0}
    found = torch.cat([drawn(seed, **changes) for seed in range(4000)])
    expected = torch.cat([exchanged(1, 1, 2.0, "share", 10_000 + seed, 1) for seed in range(4000)])
    assert ks_2samp(found.numpy(), expected.numpy()).pvalue > 1e-7


def test_one_factor_a_share_scales_all_coordinates_alike() -> None:
    """Given the factors the coordinates are independent Gaussians: their kurtosis is 3 within 6 sigma."""
    found = drawn(per_share=True, num_honest=6)
    kurtosis = float((found**4).mean() / (found**2).mean() ** 2)
    assert abs(kurtosis - 3) < 6 * (24 / 40_000) ** 0.5
    spread = torch.stack([drawn(seed, per_share=True, dim=2000).var() for seed in range(20)])
    assert float(spread.std() / spread.mean()) > 0.1  # 30 factors: relative sd sqrt(2 / 30) = 0.26


@pytest.mark.parametrize("degrees", [1, 29, 300])
@pytest.mark.parametrize("at_once", [2**26, 2**13])
def test_the_chi_squared_of_a_gpu_is_one(degrees: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kolmogorov-Smirnov against the distribution, false alarm 1e-7; also in pieces of two draws a coordinate."""
    monkeypatch.setattr(drawn_noise, "NORMALS_AT_ONCE", at_once)
    draws = drawn_noise._sum_of_squares(degrees, 4096, torch.Generator().manual_seed(degrees))
    assert ks_1samp(draws.numpy(), chi2(degrees).cdf).pvalue > 1e-7
