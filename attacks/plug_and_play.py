"""Inverting gradients with a denoiser for a prior: regularisation by denoising (Romano, Elad and Milanfar 2017: RED).

`inverting_gradients` asks for images with little total variation. This attack asks for images that a denoiser D leaves
as they are. RED's penalty, x (x - D(x)) / 2, has the derivative

    x - D(x)

for a D that commutes with scaling and has a symmetric Jacobian, so that no derivative of D is needed; D here is near
enough to that. It is a generic denoiser, without training or a download: thresholded cosines of all small patches
(Yu and Sapiro 2011). Everything else is as in `inverting_gradients`; weight and sigma are ours, found on pictures
that no board shows.
"""

from pydantic import Field
from torch import Tensor

from attacks.inverting_gradients import InvertingGradients
from bench.attacking.denoiser import denoise
from bench.registry import register
from bench.threat import PublicFacts


@register("attack", "plug_and_play")
class PlugAndPlay(InvertingGradients):
    """The passive server, against the B samples that each target trains on; for images that are smooth in patches."""

    version = 1

    tv: float = Field(default=0.003, ge=0)  # the weight of the total variation, beside the denoiser
    weight: float = Field(default=0.1, ge=0)  # of what the denoiser takes away, as a mean over the pixels
    sigma: float = Field(default=0.05, ge=0)  # deviation of the noise that it expects, in pixels from 0 to 1

    def prior_slope(self, facts: PublicFacts, images: Tensor) -> Tensor:
        std, mean = facts.std[:, None, None].to(images), facts.mean[:, None, None].to(images)
        pixels = images.flatten(0, 1) * std + mean
        taken = ((pixels - denoise(pixels, self.sigma)) / std).view_as(images)
        return super().prior_slope(facts, images) + self.weight * taken / images[0].numel()
