"""A denoiser for a prior: what it adds to inverting gradients, and what it makes of the images."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from attacks.inverting_gradients import InvertingGradients
from attacks.plug_and_play import PlugAndPlay
from bench.attacking.denoiser import denoise
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg

Invert = Callable[..., Any]


def test_without_weight_it_is_inverting_gradients(invert: Invert) -> None:
    alone = invert(FedAvg(), InvertingGradients(steps=20, starts=1, tv=0.01)).found
    same = invert(FedAvg(), PlugAndPlay(steps=20, starts=1, tv=0.01, weight=0.0)).found
    assert torch.equal(alone.images, same.images)


def test_an_undefended_update_shows_the_image(invert: Invert) -> None:
    result = invert(FedAvg(), PlugAndPlay(steps=500, starts=1, tv=1e-4, weight=1e-3))
    assert int((result.psnr > 20).sum()) >= 3
    assert bool(result.label_recovered.all())


@pytest.mark.parametrize("defense", [FedAvg(), DPFedAvg(epsilon=1e4)])
def test_a_heavy_prior_leaves_the_denoiser_less_to_take(defense: Any, invert: Invert, digits: Any) -> None:
    def taken(weight: float) -> float:
        found = invert(defense, PlugAndPlay(steps=200, starts=1, weight=weight, sigma=0.1)).found
        pixels = digits.denormalise(found.images).flatten(0, 1)
        return float((pixels - denoise(pixels, 0.1)).square().mean())

    assert taken(3.0) < 0.5 * taken(0.0)
