"""Accuracy and loss by hand; PSNR against torchmetrics, SSIM against scikit-image, definitions and closed forms."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.functional.image import peak_signal_noise_ratio

from bench import models
from bench.base.rng import generator
from bench.data import Dataset, Split, load
from bench.plays import metrics
from bench.plays.metrics import accuracy_and_loss, image_metrics, labels_recovered, matched, ssim

C1, C2 = 0.01**2, 0.03**2  # SSIM's constants for pixels in [0, 1] (Wang et al. 2004)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="module")
def coloured(digits: Dataset) -> Dataset:
    """A data set of three channels, each normalised in its own way."""
    return replace(digits, mean=torch.tensor([0.2, 0.5, 0.7]), std=torch.tensor([0.1, 0.3, 0.5]))


def grey(dataset: Dataset, *values: float) -> Tensor:
    """Normalised images `(T, 1, 8, 8)`, each of one pixel value in [0, 1]."""
    return dataset.normalise(torch.tensor(values, dtype=torch.float64)[:, None, None, None].expand(-1, 1, 8, 8))


def ssim_by_definition(image: Tensor, truth: Tensor, size: int = 7) -> float:
    """The mean over channels and all windows inside the image of SSIM with sample covariances."""
    values = []
    for channel in range(image.shape[0]):
        for top, left in itertools.product(range(image.shape[1] - size + 1), range(image.shape[2] - size + 1)):
            a, b = (x[channel, top : top + size, left : left + size].double().numpy() for x in (image, truth))
            (aa, ab), (_, bb) = np.cov(a.flatten(), b.flatten())
            brightness = (2 * a.mean() * b.mean() + C1) / (a.mean() ** 2 + b.mean() ** 2 + C1)
            values.append(float(brightness * (2 * ab + C2) / (aa + bb + C2)))
    return sum(values) / len(values)


def pattern(channels: int, height: int, width: int, step: int) -> Tensor:
    """An image `(C, H, W)` of tenths that anybody can write down: ((step i + 3 j + 5 c) mod 11) / 10."""
    c, i, j = torch.meshgrid(*(torch.arange(size) for size in (channels, height, width)), indexing="ij")
    return ((step * i + 3 * j + 5 * c) % 11).double() / 10


@pytest.mark.parametrize("batch", [1, 2, 2000])
def test_accuracy_and_loss_worked_by_hand(monkeypatch: pytest.MonkeyPatch, batch: int) -> None:
    """Logits equal to the two pixels: right, right, wrong; losses log(1 + e^-2), log(1 + e^-1), log(1 + e^3)."""
    monkeypatch.setattr(metrics, "EVALUATION_BATCH", batch)
    model = models.build("softmax", (1, 1, 2), 2)
    params = torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    split = Split(torch.tensor([[2.0, 0.0], [0.0, 1.0], [3.0, 0.0]]).reshape(3, 1, 1, 2), torch.tensor([0, 1, 1]))
    accuracy, loss = accuracy_and_loss(model, params, split)
    assert accuracy == 2 / 3
    expected = (math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)) + math.log1p(math.exp(3))) / 3
    assert loss == pytest.approx(expected, rel=1e-12)


def test_the_loss_of_a_model_that_knows_nothing_is_log_10(digits: Dataset) -> None:
    model = models.build("softmax", digits.shape, 10)
    accuracy, loss = accuracy_and_loss(model, torch.zeros(model.dim), digits.test)
    assert loss == pytest.approx(math.log(10), rel=1e-6)
    assert accuracy == float((digits.test.y == 0).double().mean())  # of equal logits, argmax takes the first


@pytest.mark.parametrize("count", [1, 5])
def test_an_exact_copy(digits: Dataset, count: int) -> None:
    truth = digits.test.x[:count]
    found = image_metrics(truth.clone(), truth, digits)
    assert set(found) == {"mse", "psnr", "ssim"}
    assert found["mse"].tolist() == pytest.approx([0.0] * count, abs=1e-12)
    assert found["psnr"].tolist() == pytest.approx([100.0] * count)
    assert found["ssim"].tolist() == pytest.approx([1.0] * count)


@pytest.mark.parametrize("count", [1, 6])
@pytest.mark.parametrize("noise", [0.05, 0.5, 5.0])
def test_against_torchmetrics_and_the_definition(digits: Dataset, noise: float, count: int) -> None:
    truth = digits.test.x[:count].double()
    images = truth + noise * torch.randn(truth.shape, generator=generator(1), dtype=torch.float64)
    found = image_metrics(images, truth, digits)
    guess, pixels = digits.denormalise(images).clamp(0, 1), digits.denormalise(truth)
    expected = peak_signal_noise_ratio(guess, pixels, data_range=1.0, reduction="none", dim=(1, 2, 3))
    torch.testing.assert_close(found["psnr"].double(), expected.reshape(-1), rtol=1e-5, atol=0)
    torch.testing.assert_close(found["mse"].double(), (guess - pixels).square().mean((1, 2, 3)), rtol=1e-5, atol=0)
    by_hand = [ssim_by_definition(*pair) for pair in zip(guess, pixels, strict=True)]
    assert found["ssim"].tolist() == pytest.approx(by_hand, abs=1e-5)


def test_coloured_images(coloured: Dataset) -> None:
    source = generator(2)
    truth = torch.rand(3, 3, 10, 9, generator=source)
    images = truth + 0.1 * torch.randn(truth.shape, generator=source)
    found = image_metrics(coloured.normalise(images), coloured.normalise(truth), coloured)
    guess = images.clamp(0, 1)
    expected = (guess - truth).square().mean((1, 2, 3))
    torch.testing.assert_close(found["mse"].float(), expected, rtol=1e-4, atol=1e-7)
    by_hand = [ssim_by_definition(*pair) for pair in zip(guess, truth, strict=True)]
    assert found["ssim"].tolist() == pytest.approx(by_hand, abs=1e-5)


@pytest.mark.parametrize(
    ("size", "steps", "weight", "expected"),
    [
        ((1, 8, 8), (7, 2), 0.0, -0.16620191946373647),
        ((1, 8, 8), (7, 2), 0.75, 0.9064757278744024),
        ((1, 28, 28), (1, 4), 0.5, 0.6677418045052554),
        ((3, 9, 12), (2, 9), 0.9, 0.9893280488057368),
        ((3, 32, 32), (6, 10), 0.3, 0.37475516964063843),
    ],
)
def test_ssim_is_scikit_images(
    size: tuple[int, int, int], steps: tuple[int, int], weight: float, expected: float
) -> None:
    """Of two patterns, the second one mixed with the first by `weight`: what scikit-image 0.26.0 gives by default.

    `skimage.metrics.structural_similarity(first, second, data_range=1.0, channel_axis=0)`, run once; it is no
    dependency, because this one function in torch is all that it would be there for.
    """
    first, other = (pattern(*size, step) for step in steps)
    second = weight * first + (1 - weight) * other
    assert float(ssim(second[None], first[None])) == pytest.approx(expected, abs=1e-12)


def test_images_smaller_than_a_window_have_no_ssim() -> None:
    with pytest.raises(ValueError, match="6 pixels wide"):
        ssim(torch.zeros(1, 1, 6, 9), torch.zeros(1, 1, 6, 9))


@pytest.mark.data
def test_black_borders_count_no_more_than_their_windows(data_root: Path) -> None:
    """MNIST under noise of .1: scikit-image's mean is .6653, and windows over mirrored borders make .467 of it."""
    mnist = load("mnist", data_root)
    truth = mnist.denormalise(mnist.test.x[:50]).double()
    noise = torch.randn(truth.shape, generator=generator(1), dtype=torch.float64)
    assert float(ssim((truth + 0.1 * noise).clamp(0, 1), truth).mean()) == pytest.approx(0.6652727, abs=1e-6)


@given(st.floats(0, 1), st.floats(0, 1))
def test_plain_grey_images_in_closed_form(a: float, b: float) -> None:
    digits = load("digits")
    found = image_metrics(grey(digits, a), grey(digits, b), digits)
    mse = (a - b) ** 2
    assert float(found["mse"]) == pytest.approx(mse, abs=1e-6)
    if mse > 1e-3:
        assert float(found["psnr"]) == pytest.approx(-10 * math.log10(mse), abs=0.01)
    assert float(found["ssim"]) == pytest.approx((2 * a * b + C1) / (a**2 + b**2 + C1), abs=1e-5)


def test_a_tenth_off_is_20_decibels(digits: Dataset) -> None:
    found = image_metrics(grey(digits, 0.6, 0.5), grey(digits, 0.5, 0.49), digits)
    assert found["psnr"].tolist() == pytest.approx([20.0, 40.0], abs=1e-3)


def test_what_is_brighter_than_white_counts_as_white(digits: Dataset) -> None:
    found = image_metrics(grey(digits, 7.0, -7.0, 7.0), grey(digits, 1.0, 0.0, 0.0), digits)
    assert found["mse"].tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-6)
    assert float(found["psnr"][2]) == pytest.approx(0.0, abs=1e-4)


def test_each_image_is_measured_on_its_own(digits: Dataset) -> None:
    truth = digits.test.x[:4]
    images = truth + torch.tensor([0.0, 0.1, 1.0, 3.0])[:, None, None, None] * torch.randn(
        truth.shape, generator=generator(3)
    )
    together = image_metrics(images, truth, digits)
    for row in range(4):
        alone = image_metrics(images[row : row + 1], truth[row : row + 1], digits)
        for name, values in together.items():
            assert values.shape == (4,)
            assert float(values[row]) == pytest.approx(float(alone[name]), abs=1e-5)


# ------------------------------------------------------------------------------------------------- images of a batch


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_the_best_assignment_is_that_of_all_permutations(coloured: Dataset, batch: int) -> None:
    """Of every order of the images, the one with the least sum of MSE on pixels, target by target."""
    source = generator(5)
    truth, images = coloured.normalise(torch.rand(2, 5, batch, 3, 4, 4, generator=source))
    found = matched(images, truth, coloured)
    for target in range(5):

        def cost(order: tuple[int, ...], target: int = target) -> float:
            ordered = images[target, list(order)]
            return float(image_metrics_mse(ordered, truth[target], coloured).sum())

        best = min(itertools.permutations(range(batch)), key=cost)
        assert torch.equal(found[target], images[target, list(best)])


def image_metrics_mse(images: Tensor, truth: Tensor, dataset: Dataset) -> Tensor:
    guess, pixels = dataset.denormalise(images).clamp(0, 1), dataset.denormalise(truth)
    return (guess.double() - pixels.double()).square().mean((1, 2, 3))


def test_a_shuffled_batch_is_put_in_order(digits: Dataset) -> None:
    truth = digits.test.x[:24].view(3, 8, 1, 8, 8)
    order = torch.stack([torch.randperm(8, generator=generator(seed)) for seed in range(3)])
    shuffled = truth[torch.arange(3).unsqueeze(1), order]
    assert torch.equal(matched(shuffled, truth, digits), truth)


def test_the_sum_counts_and_not_each_images_nearest(digits: Dataset) -> None:
    """Both guesses are nearest to the first true image: 0.01 + 0.27 is less than 0.0004 + 0.36."""
    truth, images = grey(digits, 0.5, 0.0).unsqueeze(0), grey(digits, 0.6, 0.52).unsqueeze(0)
    for guesses in (images, images.flip(1)):
        assert torch.equal(matched(guesses, truth, digits), images)


@pytest.mark.parametrize(
    ("inferred", "share"),
    [
        ([[0, 1, 2], [3, 3, 3]], 1.0),
        ([[2, 0, 1], [3, 3, 3]], 1.0),
        ([[0, 0, 0], [3, 3, 3]], 4 / 6),
        ([[0, 1, 2], [3, 0, 0]], 4 / 6),
        ([[4, 5, 6], [7, 8, 9]], 0.0),
        ([[0, 4, 4], [0, 1, 2]], 1 / 6),
    ],
)
def test_labels_count_as_often_as_they_are_there(inferred: list[list[int]], share: float) -> None:
    truth = torch.tensor([[0, 1, 2], [3, 3, 3]])
    assert labels_recovered(torch.tensor(inferred), truth) == pytest.approx(share)


def test_of_one_image_the_label_is_right_or_wrong() -> None:
    assert labels_recovered(torch.tensor([[1], [2], [3]]), torch.tensor([[1], [2], [5]])) == pytest.approx(2 / 3)
