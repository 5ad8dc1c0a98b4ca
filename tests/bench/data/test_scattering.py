"""The scattering transform against kymatio's values, and against what follows from its formula."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from bench.data.scattering import morlet, num_channels, scattering

# From kymatio 0.3.0 (numpy backend, `scipy.special.sph_harm` stubbed), float64: Scattering2D(J=2, L=8) at every third
# place and J=3, L=4 at every second, of the images below.
REFERENCE = Path(__file__).parent / "reference" / "scattering.npz"

THEIR_PI = 3.1415
"""kymatio divides each filter by 2 pi sigma^2 / slant with this pi, so its values grow with each convolution."""


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    i, j = np.mgrid[0:32, 0:32]
    noise = (7 * i * i + 13 * j + 5 * i * j) % 256 / 255
    disc = (np.hypot(i - 12, j - 18) < 7).astype(float)
    wave = 0.5 + 0.5 * np.sin(0.9 * i + 0.4 * j)
    return torch.from_numpy(np.stack([noise, disc, wave]))


def convolutions(scales: int, angles: int) -> torch.Tensor:
    """How many filters each channel went through."""
    first = angles * scales
    counts = [1] + [2] * first + [3] * (num_channels(scales, angles) - 1 - first)
    return torch.tensor(counts).double().view(-1, 1, 1)


@pytest.mark.parametrize(
    ("scales", "angles", "name", "places"),
    [(2, 8, "j2", np.s_[:, :, ::3, ::3]), (3, 4, "j3", np.s_[:, :, ::2, 1::2])],
)
def test_it_has_the_values_of_kymatio(images, scales, angles, name, places):
    with np.load(REFERENCE) as reference:
        theirs = torch.from_numpy(reference[name])
    ours = scattering(images, scales, angles)[places]
    assert ours.shape == theirs.shape
    grown = ours * (math.pi / THEIR_PI) ** convolutions(scales, angles)
    # kymatio's filters are complex64: 2e-7 of values up to 1.
    torch.testing.assert_close(grown, theirs, rtol=0, atol=1e-6)


def test_there_are_81_channels_of_a_fourth_of_the_size(images):
    assert num_channels() == 81
    assert scattering(images).shape == (3, 81, 8, 8)
    assert scattering(images).dtype == torch.float64


def test_a_constant_image_has_order_zero_alone():
    """phi sums to 1 and each wavelet to 0; the mirror makes a constant of a constant."""
    found = scattering(torch.full((1, 32, 32), 0.7))
    torch.testing.assert_close(found[0, 0], torch.full((8, 8), 0.7).double(), rtol=0, atol=1e-6)
    assert float(found[0, 1:].abs().max()) < 1e-9


def test_it_is_homogeneous_and_nowhere_negative_on_images(images):
    found = scattering(images)
    torch.testing.assert_close(scattering(3 * images), 3 * found)
    assert float(found.min()) > -1e-3  # phi, cropped to few frequencies, dips below 0 by that much


def test_a_wave_excites_the_wavelet_of_its_own_direction():
    """Along x at 3/4 pi, the frequency of scale 0: of eight angles the one at 0 answers most."""
    wave = torch.cos(3 / 4 * math.pi * torch.arange(32.0))[:, None].expand(32, 32)
    answers = scattering(wave[None].double())[0, 1:9, 2:6, 2:6].mean(dim=(1, 2))
    assert int(answers.argmax()) == 3  # (L / 2 - 1 - t) pi / L = 0


def test_a_wavelet_has_mean_zero_and_its_frequency():
    found = morlet(40, 0, 0.0, 8)
    assert abs(found.sum()) < 1e-12
    spectrum = np.abs(np.fft.fft2(found))
    assert np.unravel_index(spectrum.argmax(), spectrum.shape) == (15, 0)  # 3/4 pi of 40 places


def test_an_image_is_the_same_whoever_lies_beside_it(images):
    alone = torch.cat([scattering(image[None]) for image in images])
    torch.testing.assert_close(scattering(images), alone, rtol=0, atol=1e-13)
    assert torch.equal(scattering(images).half(), alone.half())


@pytest.mark.parametrize(
    ("shape", "told"), [((1, 32, 28), "of shape (1, 32, 28)"), ((1, 30, 30), "30 pixels wide"), ((1, 4, 4), "4 pixels")]
)
def test_images_that_do_not_fit_are_refused_in_one_line(shape, told):
    with pytest.raises(ValueError, match="images") as caught:
        scattering(torch.zeros(shape))
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
