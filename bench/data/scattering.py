"""The two-dimensional scattering transform (Bruna and Mallat 2013, "Invariant scattering convolution networks").

Features of images in which nothing is learned: a softmax on those of CIFAR-10 comes near a convolutional network
(Tramer and Boneh 2021, "Differentially private learning needs better features"). J = 2 scales, L = 8 angles and two
orders make 81 channels of each colour, each a fourth as wide and high as the image: 3 x 81 x 8 x 8 = 15,552 features.

    S0 = x * phi,   S1(j, t) = |x * psi_jt| * phi,   S2(j, t, k, s) = ||x * psi_jt| * psi_ks| * phi  where j < k

psi are Morlet wavelets and phi is a Gaussian, with the constants of kymatio's Scattering2D (Andreux et al. 2020), whose
values the tests hold this against. All is products of float64 matrices, whose order of sums the portable arithmetic
fixes: a discrete Fourier transform of 40 x 40 pixels is one on each side, and so is phi, which is separable.
"""

import functools
import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require

SCALES, ANGLES = 2, 8
"""J and L."""

WIDTH, FREQUENCY, SLANT = 0.8, 3 / 4 * math.pi, 4.0
"""Of a wavelet at scale 0: sigma, xi, and the slant times L; sigma doubles with each scale, and xi halves."""

Real = NDArray[np.float64]


def num_channels(scales: int = SCALES, angles: int = ANGLES) -> int:
    """1 of order zero, L for each scale, and L^2 for each pair of scales: 81."""
    return 1 + angles * scales + angles**2 * scales * (scales - 1) // 2


def scattering(images: Tensor, scales: int = SCALES, angles: int = ANGLES) -> Tensor:
    """Features `(N, channels, H / 2^J, H / 2^J)` in float64 of images `(N, H, H)`: S0, then S1, then S2.

    S1 is in the order of (j, t), S2 in that of (j, t, k, s). Raises `ValueError` for images that are not square, or
    whose side is no multiple of 2^J above it.
    """
    side, step = images.shape[-1], 2**scales
    require(images.shape[1:] == (side, side), "images", f"of shape {tuple(images.shape)}", "of shape (N, H, H)")
    require(side > step and side % step == 0, "images", f"{side} pixels wide", f"a multiple of {step} wide, above it")
    bank = _bank(side, scales, angles)
    padded = images.double()[:, bank.mirror[:, None], bank.mirror]
    first, second = [_blurred(padded[:, None], bank.blur[0])], []
    spectrum = _spectrum(padded)
    for j in range(scales):
        moduli = _moduli(spectrum, bank.wavelets[0][j], 2**j)  # (N, L, n / 2^j, n / 2^j)
        first.append(_blurred(moduli, bank.blur[j]))
        for t in range(angles if j + 1 < scales else 0):
            own = _spectrum(moduli[:, t])
            for k in range(j + 1, scales):
                second.append(_blurred(_moduli(own, bank.wavelets[j][k], 2 ** (k - j)), bank.blur[k]))
    return torch.cat([*first, *second], dim=1)


@dataclass(frozen=True)
class Bank:
    """What images of one size need. Level j is that of images with 2^j times fewer pixels on a side, n / 2^j."""

    mirror: Tensor  # (n,): which row of the image each one of the padded image is: 2^J more on each side, reflected
    wavelets: list[list[Tensor]]  # by level and scale, (L, n / 2^j, n / 2^j): spectra, all of them real
    blur: list[Tensor]  # by level, (H / 2^J, n / 2^j): phi on one side, subsampled, without the padding


@functools.cache
def _bank(side: int, scales: int, angles: int) -> Bank:
    pad = 2**scales
    n = side + 2 * pad
    place = np.abs(np.arange(-pad, side + pad))
    spectra = [
        np.stack(
            [_real_spectrum(morlet(n, j, (angles // 2 - 1 - t) * math.pi / angles, angles)) for t in range(angles)]
        )
        for j in range(scales)
    ]
    levels = range(scales)
    return Bank(
        torch.from_numpy(np.where(place < side, place, 2 * (side - 1) - place)),
        [[_cropped(torch.from_numpy(one), n // 2**level) for one in spectra] for level in levels],
        [_blur(n, level, scales) for level in levels],
    )


def morlet(n: int, scale: int, angle: float, angles: int) -> NDArray[np.complex128]:
    """A Morlet wavelet `(n, n)` of mean zero, made periodic: a wave under an oblong Gaussian, less the same without."""
    sigma, xi, slant = WIDTH * 2**scale, FREQUENCY / 2**scale, SLANT / angles
    x, y = np.meshgrid(*[np.arange(-2 * n, 3 * n)] * 2, indexing="ij")
    along, across = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    envelope = np.exp(-(along**2 + (slant * across) ** 2) / (2 * sigma**2)) * slant / (2 * math.pi * sigma**2)
    wave, plain = (_periodic(one, n) for one in (envelope * np.exp(1j * xi * along), envelope))
    return np.asarray(wave - wave.sum() / plain.sum() * plain)


def _periodic(values: Real, n: int) -> Real:
    """Values `(5n, 5n)` added up over all periods, `(n, n)`."""
    added: Real = values.reshape(5, n, 5, n).sum(axis=(0, 2))
    return added


def _blur(n: int, level: int, scales: int) -> Tensor:
    """The matrix of phi on one side of images at a level, at the places that are kept."""
    x, sigma, m = np.arange(-2 * n, 3 * n), WIDTH * 2 ** (scales - 1), n // 2**level
    gaussian = np.exp(-(x**2) / (2 * sigma**2)).reshape(5, n).sum(axis=0) / (math.sqrt(2 * math.pi) * sigma)
    spectrum = (_waves(n)[0] @ torch.from_numpy(gaussian))[_low(n, m)]
    phi: Tensor = _waves(m)[0] @ spectrum / m
    kept = torch.arange(1, n // 2**scales - 1) * (2**scales // 2**level)
    return phi[(kept[:, None] - torch.arange(m)) % m]


def _real_spectrum(filter_: NDArray[np.complex128]) -> Real:
    """The real part of the transform of a filter `(n, n)`; the imaginary one is rounding."""
    cosine, sine = (one.numpy() for one in _waves(len(filter_)))
    wave = cosine - 1j * sine
    return np.asarray((wave @ filter_ @ wave).real)


@functools.cache
def _waves(n: int) -> tuple[Tensor, Tensor]:
    """Cosine and sine of 2 pi k l / n, `(n, n)` each: those of the transform, which is symmetric."""
    turns = (torch.arange(n)[:, None] * torch.arange(n) % n).tolist()
    cosine, sine = ([wave(2 * math.pi * k / n) for k in range(n)] for wave in (math.cos, math.sin))
    both = torch.tensor([[values[k] for k in row] for values in (cosine, sine) for row in turns], dtype=torch.float64)
    return both[:n], both[n:]


def _spectrum(images: Tensor) -> Tensor:
    """The Fourier transform of real images `(N, n, n)`: `(N, 2, n, n)`, its real and its imaginary part."""
    cosine, sine = _waves(images.shape[-1])
    left = torch.cat([cosine, -sine]) @ images  # (N, 2n, n)
    real, imaginary = (left @ torch.cat([cosine, sine], dim=1)).unflatten(1, (2, -1)).unbind(1)  # (N, n, 2n) each
    n = len(cosine)
    return torch.stack([real[..., :n] + imaginary[..., n:], imaginary[..., :n] - real[..., n:]], dim=1)


def _moduli(spectrum: Tensor, wavelets: Tensor, step: int) -> Tensor:
    """|u * psi| at every `step`-th pixel, `(N, L, n / step, n / step)`, for all the wavelets `(L, n, n)`."""
    filtered = _folded(spectrum[:, None] * wavelets[:, None], step)  # (N, L, 2, m, m)
    cosine, sine = _waves(filtered.shape[-1])
    m, pixels = len(cosine), spectrum.shape[-1] ** 2
    real, imaginary = (filtered @ torch.cat([cosine, sine], dim=1)).unbind(2)
    right = torch.stack([real[..., :m] - imaginary[..., m:], real[..., m:] + imaginary[..., :m]], dim=2)
    real, imaginary = (torch.cat([cosine, sine]) @ right).unbind(2)  # (N, L, 2m, m) each
    real, imaginary = real[..., :m, :] - imaginary[..., m:, :], real[..., m:, :] + imaginary[..., :m, :]
    return sqrt(real.square_().add_(imaginary.square_())).div_(pixels)


def _folded(spectrum: Tensor, step: int) -> Tensor:
    """The spectrum `(..., n, n)` of what is left when of `step` pixels one is kept, times `step`^2."""
    parts = spectrum.unflatten(-1, (step, -1)).unflatten(-3, (step, -1))
    rows: Tensor = sum(parts[..., i, :, :, :] for i in range(1, step)) + parts[..., 0, :, :, :]
    folded: Tensor = sum(rows[..., i, :] for i in range(1, step)) + rows[..., 0, :]
    return folded


def _blurred(images: Tensor, blur: Tensor) -> Tensor:
    """Images `(N, C, n, n)` under the low-pass filter, `(N, C, H / 2^J, H / 2^J)`."""
    blurred: Tensor = blur @ images @ blur.mT
    return blurred


def _low(n: int, kept: int) -> Tensor:
    """Which of n frequencies are left on `kept` pixels, in the order of their transform."""
    return torch.cat([torch.arange(kept // 2), torch.arange(n - kept // 2, n)])


def _cropped(spectra: Tensor, kept: int) -> Tensor:
    """Spectra `(L, n, n)` at their lowest frequencies, `(L, kept, kept)`."""
    low = _low(spectra.shape[-1], kept)
    return spectra[:, low[:, None], low]
