"""CRFL: the clipped model, the noise's statistics, the schedule of the authors' code, and the last round."""

import math

import pytest
import torch
from scipy.stats import chi2, norm

from bench.protocol import Delivered, ServerRound, Setting
from defenses.crfl import CRFL, clipped, crfl


def server(index: int, dim: int = 2, rounds: int = 5) -> ServerRound:
    setting = Setting(2, 2, dim, rounds, 0.1, None, 0.0, 1e-6)
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    model = torch.zeros(dim, dtype=torch.float64)
    return ServerRound(index, setting, model, weights, torch.Generator().manual_seed(index))


def test_a_long_model_is_brought_to_the_norm_and_a_short_one_stays() -> None:
    assert clipped(torch.tensor([30.0, 40.0]), 5.0).tolist() == pytest.approx([3, 4])
    short = torch.tensor([3.0, 4.0])
    assert torch.equal(clipped(short, 5.0), short)
    with pytest.raises(ValueError, match="rho is 0"):
        clipped(short, 0.0)


def test_the_noise_has_the_deviation_sigma() -> None:
    """Mean and variance of 40,000 draws, each at a false-alarm rate of one in a million; the seed is fixed."""
    d, sigma, rate = 40_000, 0.3, 1e-6
    noise = crfl(torch.zeros(d, dtype=torch.float64), torch.Generator().manual_seed(3), rho=1.0, sigma=sigma)
    assert abs(float(noise.mean())) < norm.isf(rate / 2) * sigma / math.sqrt(d)
    low, high = chi2.ppf([rate / 2, 1 - rate / 2], d)
    assert low < float(noise.square().sum()) / sigma**2 < high


def test_the_bound_grows_as_in_the_authors_code_for_mnist() -> None:
    """`dynamic_thres = epoch * 0.1 + 2`, epochs from 1, at most `param_clip_thres` = 15."""
    rule = CRFL()
    assert [rule.rho_after(index) for index in (0, 9, 200)] == pytest.approx([2.1, 3.0, 15.0])


def test_every_round_but_the_last_adds_noise_after_it_clips() -> None:
    rows = torch.tensor([[6.0, 8.0], [6.0, 8.0]], dtype=torch.float64)
    delivered = Delivered(rows, torch.arange(2))
    rule = CRFL(rho=5.0, first=5.0, sigma=0.01)
    clean = torch.tensor([3.0, 4.0], dtype=torch.float64)
    torch.testing.assert_close(rule.aggregate(delivered, server(4)), clean)
    noisy = rule.aggregate(delivered, server(3))
    drawn = torch.randn(2, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    torch.testing.assert_close(noisy, clean + 0.01 * drawn)
