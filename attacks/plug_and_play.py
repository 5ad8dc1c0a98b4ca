"""Inverting gradients with a denoiser for a prior: regularisation by denoising (Romano, Elad and Milanfar 2017: RED).

As `inverting_gradients`, where the images that are told from a gradient have little total variation; here they are
those that a denoiser D leaves as they are. RED's penalty x (x - D(x)) / 2 has the derivative x - D(x), so that no
derivative of D is needed. D is the best generic one that needs no training and no download: thresholded cosines of all
small patches (Yu and Sapiro 2011). It expects noise that shrinks with Adam's steps, from `sigma` to a tenth.
"""

from pydantic import Field
from torch import Tensor

from attacks.inverting_gradients import InvertingGradients
from bench.attacking.denoiser import denoise
from bench.registry import register
from bench.threat import PublicFacts


@register("attack", "plug_and_play")
class PlugAndPlay(InvertingGradients):
    """The passive server, against the B samples that each target trains on."""

    version = 1

    weight: float = Field(default=1e-2, ge=0)  # of what the denoiser takes away
    sigma: float = Field(default=0.1, gt=0)  # the noise that it expects, of pixels from 0 to 1

    def prior_slope(self, facts: PublicFacts, images: Tensor) -> Tensor:
        """The mean over the pixels of what the denoiser takes away, with its weight; and the total variation's."""
        std, mean = facts.std[:, None, None].to(images), facts.mean[:, None, None].to(images)
        flat = images.flatten(0, 1)
        pixels = flat * std + mean
        taken = ((pixels - denoise(pixels, self.sigma)) / std).view_as(images)
        return super().prior_slope(facts, images) + self.weight * taken / images[0].numel()
