"""Inverting gradients: its loss and prior against closed forms, what it must recover, and what it must not."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.inverting_gradients import InvertingGradients, cosine_distance, direction_matcher, total_variation
from bench.attacking.directions import cosine_slope, soft_signs, soft_signs_slope, variation_slope
from bench.attacking.inversion import SHARPNESS
from bench.base.rng import generator
from bench.models.base import Model
from bench.models.dense import MLP
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg
from defenses.ldpbfl import LDPBFL
from tests.cases import slow

Invert = Callable[..., Any]


@pytest.mark.parametrize("model", ["lenet", "softmax", slow("mlp")])
def test_an_undefended_update_shows_the_image(model: str, invert: Invert) -> None:
    """PSNR above 20 dB for 3 of 4 targets; one gradient of one sample."""
    result = invert(FedAvg(), InvertingGradients(starts=1), model)
    assert int((result.psnr > 20).sum()) >= 3
    assert bool(result.label_recovered.all())
    assert result.found.images.shape == (4, 1, 1, 8, 8)
    assert result.found.labels.shape == (4, 1)


@pytest.mark.parametrize(("batch", "local_steps", "steps"), [slow(4, 1, 600), slow(1, 3, 400), (2, 2, 400)])
def test_an_undefended_update_of_a_batch_shows_all_of_it(
    batch: int, local_steps: int, steps: int, invert: Invert
) -> None:
    """Fewer steps than the attack's own, and so harder to pass."""
    result = invert(FedAvg(), InvertingGradients(steps=steps, starts=1), batch=batch, local_steps=local_steps)
    assert result.found.images.shape == (4, batch, 1, 8, 8)
    assert float((result.psnr > 20).double().mean()) >= 0.75
    assert bool(result.label_recovered.all())


def test_signs_without_noise_show_the_image(invert: Invert) -> None:
    result = invert(LDPBFL(gamma=0.0), InvertingGradients(starts=1), rounds=2, dtype="float64")
    assert int((result.psnr > 20).sum()) >= 3
    assert bool(result.label_recovered.all())


def test_default_noise_hides_the_image(invert: Invert) -> None:
    assert float(invert(DPFedAvg(), InvertingGradients(steps=300, starts=1)).psnr.max()) < 12


def test_the_length_of_an_update_says_nothing(invert: Invert) -> None:
    """Clipping to a twentieth, with next to no noise, changes no direction."""
    result = invert(DPFedAvg(zeta=0.05, epsilon=1e9), InvertingGradients(steps=400, starts=1))
    assert int((result.psnr > 20).sum()) >= 3


@pytest.mark.parametrize("zeta", [slow(1e-6), 1e-12, slow(1e-18)])
def test_a_small_gradient_shows_as_much_as_a_large_one(zeta: float, invert: Invert) -> None:
    """A floor of 1e-8 under the message's norm made 16 dB of 35 at 1e-12."""
    result = invert(DPFedAvg(zeta=zeta, epsilon=1e12), InvertingGradients(steps=300, starts=1), "mlp")
    assert int((result.psnr > 20).sum()) >= 3


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_the_scale_of_the_gradient_is_of_no_account(
    scale: float, invert: Invert, monkeypatch: pytest.MonkeyPatch
) -> None:
    gradients = MLP.gradients
    monkeypatch.setattr(MLP, "gradients", lambda self, *given: scale * gradients(self, *given))
    monkeypatch.setattr(MLP, "update", Model.update)
    result = invert(FedAvg(), InvertingGradients(steps=300, starts=1), "mlp")
    assert int((result.psnr > 20).sum()) >= 3


@pytest.mark.parametrize("scale", [1e-37, 1e-25, 1e-12, 1.0, 1e12, 1e25])
def test_the_cosine_distance_has_no_scale(scale: float) -> None:
    """In float32, whose squares end at 1e-38 and 1e38."""
    x, targets = torch.randn(2, 4, 300, generator=generator(2), dtype=torch.float64)
    expected, slope = cosine_slope(targets)(x)
    found, by_x = cosine_slope((scale * targets).float())((scale * x).float())
    torch.testing.assert_close(found, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(by_x.double() * scale, slope, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(
        cosine_distance((scale * x).float(), targets.float()), expected.float(), rtol=1e-5, atol=1e-5
    )


def test_pixels_stay_valid_and_the_generator_alone_decides(invert: Invert, digits: Any) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    attack = InvertingGradients(steps=20, starts=1, lr=1.0)
    first, again = (invert(FedAvg(), attack).found for _ in range(2))
    other = invert(FedAvg(), attack, seed=1).found
    pixels = digits.denormalise(first.images)
    assert float(pixels.min()) >= -1e-6
    assert float(pixels.max()) <= 1 + 1e-6
    assert float(pixels.min()) < 1e-6  # the bound is met, so that it was needed
    assert torch.equal(first.images, again.images)
    assert first.trace == again.trace
    assert not torch.equal(first.images, other.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_kept_start_is_the_best_one(invert: Invert) -> None:
    few, many = (invert(FedAvg(), InvertingGradients(starts=starts, steps=15)).found for starts in (1, 3))
    assert bool((many.loss <= few.loss).all())
    assert bool((many.loss < few.loss).any())
    assert len(many.trace) == 3 * len(few.trace) == 3 * 16


def test_total_variation_smooths(invert: Invert) -> None:
    rough, smooth = (invert(FedAvg(), InvertingGradients(steps=300, starts=1, tv=tv)).found for tv in (0.0, 0.01))
    assert bool((total_variation(smooth.images) < total_variation(rough.images)).all())


@pytest.mark.slow
@pytest.mark.data
def test_an_undefended_update_shows_a_picture(pictures: Callable[..., Any]) -> None:
    """32 x 32 x 3 pixels of the CIFAR-100 sample: PSNR above 20 dB for at least half of 8 targets."""
    result = pictures(InvertingGradients(steps=2000, tv=0.01))
    assert bool(result.label_recovered.all())
    assert int((result.psnr > 20).sum()) >= 4


@pytest.mark.parametrize("degrees", [0, 30, 90, 180])
def test_the_cosine_distance_of_an_angle(degrees: int) -> None:
    angle = math.radians(degrees)
    vector, other = torch.tensor([[3.0, 0.0]]), 7 * torch.tensor([[math.cos(angle), math.sin(angle)]])
    assert float(cosine_distance(vector, other)) == pytest.approx(1 - math.cos(angle), abs=1e-6)


def test_nothing_is_at_distance_1_of_a_message_that_never_arrived() -> None:
    assert float(cosine_distance(torch.ones(1, 3), torch.zeros(1, 3))) == 1


@given(st.integers(1, 3), st.integers(2, 5), st.integers(2, 5), st.integers(0, 1000))
def test_total_variation_is_the_mean_difference_of_neighbours(
    channels: int, height: int, width: int, seed: int
) -> None:
    x = torch.randn(2, 2, channels, height, width, generator=generator(seed), dtype=torch.float64)
    for row, found in zip(x.tolist(), total_variation(x).tolist(), strict=True):
        planes = [plane for image in row for plane in image]
        down = [abs(p[i + 1][j] - p[i][j]) for p in planes for i in range(height - 1) for j in range(width)]
        across = [abs(p[i][j + 1] - p[i][j]) for p in planes for i in range(height) for j in range(width - 1)]
        assert found == pytest.approx(sum(down) / len(down) + sum(across) / len(across), rel=1e-12)


def test_soft_signs_are_twice_the_sigmoid_of_the_likelihood_less_1() -> None:
    """tanh(v / 2) = 2 sigmoid(v) - 1, so that far from 0 they are signs."""
    values = torch.randn(3, 50, generator=generator(0), dtype=torch.float64)
    v = values / (SHARPNESS * values.abs().mean(dim=1, keepdim=True))
    torch.testing.assert_close(soft_signs(values), 2 * torch.sigmoid(v) - 1)


def by_autograd(loss: Callable[[Tensor], Tensor], values: Tensor) -> tuple[Tensor, Tensor]:
    """A loss of each row, and its derivative."""
    at = values.clone().requires_grad_()
    found = loss(at)
    return found.detach(), torch.autograd.grad(found.sum(), at)[0]


@pytest.mark.parametrize("size", [(2, 1, 1, 3, 4), (3, 2, 3, 5, 5), (1, 1, 1, 1, 2)])
def test_the_slope_of_the_total_variation_is_its_derivative(size: tuple[int, ...]) -> None:
    x = torch.randn(size, generator=generator(1), dtype=torch.float64)
    x[0, 0, 0, 0, 0] = x[0, 0, 0, 0, 1]  # neighbours that are equal pull nowhere
    loss = total_variation if size[-2] > 1 else lambda x: x.diff(dim=-1).abs().flatten(1).mean(dim=1)
    torch.testing.assert_close(variation_slope(x), by_autograd(loss, x)[1])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_slope_of_the_cosine_distance_is_its_derivative(dtype: torch.dtype) -> None:
    """A row of zeros, which has no direction, among them."""
    x, targets = torch.randn(2, 4, 30, generator=generator(2), dtype=dtype)
    x[1] = 0
    found, slope = cosine_slope(targets)(x)
    loss, expected = by_autograd(lambda x: cosine_distance(x, targets), x)
    torch.testing.assert_close(found, loss)
    torch.testing.assert_close(slope, expected)
    assert float(slope[0].norm()) > 0


def test_the_slope_through_soft_signs_is_the_derivative() -> None:
    x, targets = torch.randn(2, 4, 30, generator=generator(3), dtype=torch.float64)
    offset = torch.randn(30, generator=generator(4), dtype=torch.float64)
    found, slope = soft_signs_slope(cosine_slope(targets.sign()), offset, 0.1)(x)
    loss, expected = by_autograd(lambda x: cosine_distance(soft_signs(offset + 0.1 * x), targets.sign()), x)
    torch.testing.assert_close(found, loss)
    torch.testing.assert_close(slope, expected)


@pytest.mark.parametrize("defense", [FedAvg(), LDPBFL(gamma=0.0)], ids=["gradient", "signs"])
def test_of_all_images_the_true_ones_point_the_way(defense: Any, watch: Callable[..., Any]) -> None:
    """The truth is at distance 0, or near it where smoothed signs are not quite signs; others' images are far."""
    view, seen, x, y = watch(defense, batch=2)
    match = direction_matcher(view.facts, seen[-1], torch.arange(len(x)))
    truth, (by_x, _) = match(x.float(), y.float())
    other, _ = match(x.float().roll(1, dims=0), y.float())
    assert float(truth.max()) < (0.05 if seen[-1].sign else 1e-5)
    assert bool((other > 4 * truth + 1e-3).all())
    assert by_x.shape == x.shape
