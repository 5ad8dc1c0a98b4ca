"""A generic denoiser that needs no training: thresholded cosines of all small patches of an image.

Yu and Sapiro 2011, "DCT image denoising: a simple and effective image denoising algorithm" (IPOL 1): every patch that
lies in the image is written in the orthonormal DCT, coefficients below three deviations of the noise are set to 0, and
each pixel is the mean over the patches that it lies in. Colours are told apart by a DCT across channels.
"""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from bench.base.errors import require

THRESHOLD = 3.0
"""Deviations of the noise, as in the paper."""
PATCH = 8
"""Pixels a side, as in the paper; half the image where that is smaller."""


def cosines(size: int) -> Tensor:
    """The orthonormal DCT-II, `(size, size)` in float64, a cosine a row."""
    places = torch.arange(size, dtype=torch.float64)
    waves = torch.cos(math.pi * (places + 0.5) * places[:, None] / size)
    waves[0] /= math.sqrt(2)
    return waves * math.sqrt(2 / size)


@cache
def _atoms(size: int) -> Tensor:
    """All products of two cosines `(size^2, 1, size, size)`."""
    waves = cosines(size)
    return torch.einsum("ai,bj->abij", waves, waves).reshape(size * size, 1, size, size)


def denoise(images: Tensor, sigma: float) -> Tensor:
    """Images `(k, C, H, W)` without what looks like noise of deviation `sigma` in each pixel; of the same shape.

    Raises `ValueError` for a sigma below 0.
    """
    require(sigma >= 0, "sigma", sigma, "at least 0")
    k, channels, height, width = images.shape
    size = max(1, min(PATCH, height // 2, width // 2))
    atoms = _atoms(size).to(images)
    across = cosines(channels).to(images)
    planes = torch.einsum("ab,kbhw->kahw", across, images).reshape(k * channels, 1, height, width)
    parts = F.conv2d(planes, atoms)
    kept = parts * (parts.abs() >= THRESHOLD * sigma)
    counts = F.conv_transpose2d(torch.ones_like(parts[:1, :1]), torch.ones_like(atoms[:1]))
    clean = F.conv_transpose2d(kept, atoms) / counts
    return torch.einsum("ab,kahw->kbhw", across, clean.reshape(k, channels, height, width))
