"""The denoiser against scipy's transform patch by patch, and by what it must leave and take away."""

import math

import numpy as np
import pytest
import torch
from scipy import fft

from bench.attacking.denoiser import THRESHOLD, cosines, denoise
from bench.base.rng import generator


def by_patches(image: np.ndarray, sigma: float, size: int) -> np.ndarray:
    """The paper's algorithm as it is told: an image `(C, H, W)`, one patch after the other."""
    channels, height, width = image.shape
    planes = fft.dct(image, axis=0, norm="ortho")
    total, counts = np.zeros_like(planes), np.zeros((height, width))
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            window = (slice(top, top + size), slice(left, left + size))
            counts[window] += 1
            for channel in range(channels):
                parts = fft.dctn(planes[channel][window], norm="ortho")
                parts[np.abs(parts) < THRESHOLD * sigma] = 0
                total[channel][window] += fft.idctn(parts, norm="ortho")
    return fft.idct(total / counts, axis=0, norm="ortho")


@pytest.mark.parametrize("size", [1, 2, 3, 8])
def test_the_cosines_are_scipy_s(size: int) -> None:
    expected = fft.dct(np.eye(size), axis=0, norm="ortho")
    np.testing.assert_allclose(cosines(size).numpy(), expected, atol=1e-14)


@pytest.mark.parametrize(("shape", "size"), [((3, 20, 17), 8), ((1, 8, 8), 4), ((2, 5, 9), 2)])
def test_it_is_the_paper_s_algorithm(shape: tuple[int, int, int], size: int) -> None:
    images = torch.rand(2, *shape, generator=generator(0), dtype=torch.float64)
    expected = np.stack([by_patches(image.numpy(), 0.1, size) for image in images])
    np.testing.assert_allclose(denoise(images, 0.1).numpy(), expected, atol=1e-12)


def test_without_noise_nothing_is_taken() -> None:
    images = torch.rand(3, 3, 16, 16, generator=generator(1), dtype=torch.float64)
    torch.testing.assert_close(denoise(images, 0.0), images, rtol=0, atol=1e-12)


def test_a_flat_image_loses_nearly_all_of_its_noise() -> None:
    """Of a patch's 64 coefficients its mean stays, and of the others those beyond three deviations.

    A coefficient that is kept has its square; E[z^2; |z| > 3] of a normal z is 2 (3 phi(3) + 1 - Phi(3)) = 0.029. A
    patch has (1 + 63 * 0.029) / 64 = 4.4 % of the noise's energy left, and a mean over patches at most that.
    """
    noise = 0.1 * torch.randn(64, 1, 32, 32, generator=generator(2), dtype=torch.float64)
    left = denoise(0.5 + noise, 0.1) - 0.5
    kept = 2 * (3 * math.exp(-4.5) / math.sqrt(2 * math.pi) + 0.5 * math.erfc(3 / math.sqrt(2)))
    share = (1 + 63 * kept) / 64
    assert float(left.square().mean() / noise.square().mean()) < share


def test_a_sigma_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="sigma"):
        denoise(torch.zeros(1, 1, 8, 8), -1.0)
