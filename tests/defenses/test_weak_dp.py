"""Weak DP: norm clipping with noise of the deviation that is asked for, whatever the bound and the clients."""

import math

import pytest
import torch
from scipy.stats import chi2, norm
from torch import Tensor

from defenses.norm_clipping import norm_clipping
from defenses.weak_dp import weak_dp


def noise_of(n: int, bound: float, sigma: float, d: int) -> Tensor:
    rows = torch.ones(n, d, dtype=torch.float64)
    drawn = weak_dp(rows, torch.Generator().manual_seed(5), bound=bound, sigma=sigma)
    return drawn - norm_clipping(rows, bound=bound)


@pytest.mark.parametrize(("n", "bound"), [(1, 0.5), (20, 0.5), (20, 100.0)])
def test_the_noise_is_sigma_in_every_coordinate(n: int, bound: float) -> None:
    """Mean and variance of 20,000 draws, each at a false-alarm rate of one in a million; the seed is fixed."""
    d, sigma, rate = 20_000, 0.025, 1e-6
    noise = noise_of(n, bound, sigma, d)
    assert abs(float(noise.mean())) < norm.isf(rate / 2) * sigma / math.sqrt(d)
    low, high = chi2.ppf([rate / 2, 1 - rate / 2], d)
    assert low < float(noise.square().sum()) / sigma**2 < high


def test_without_noise_it_is_norm_clipping() -> None:
    rows = torch.tensor([[30.0, 40.0], [0.3, 0.4]])
    assert torch.equal(weak_dp(rows, torch.Generator(), bound=5.0, sigma=0.0), norm_clipping(rows, bound=5.0))
    with pytest.raises(ValueError, match="sigma is -1"):
        weak_dp(rows, torch.Generator(), sigma=-1.0)
