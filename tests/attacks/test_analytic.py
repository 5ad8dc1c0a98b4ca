"""Analytic: exact where a linear layer shows its input, the average where it shows no more, signs where only they are.

Gradients come from the models' own backward pass on digits, or from a federation's messages; expectations are the
images themselves, their averages, and the formulas of least squares written out row by row.
"""

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.analytic import Analytic
from bench.attacking.inversion import Observation
from bench.attacking.linear_layers import (
    Layer,
    class_means,
    combined,
    common_signs,
    gradient_signs,
    repeated_rows,
    unexplained,
    without_noise,
)
from bench.base import rng
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models import build
from bench.models.base import one_hot
from bench.plays.inversion import Watched, watch
from bench.plays.metrics import image_metrics, labels_recovered, matched
from bench.protocol import Defense
from bench.threat import Reconstruction
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.ldpbfl import LDPBFL
from defenses.rsa import RSA

TARGETS = 8


@dataclass(frozen=True)
class Result:
    found: Reconstruction
    watched: Watched
    psnr: Tensor  # (T, B), of the images in the order in which they match
    labels: float

    @property
    def recovered(self) -> float:
        return float((self.psnr > 20).double().mean())


def play(
    digits: Dataset, defense: Defense, model: str, batch: int = 1, rounds: int = 1, steps: int = 1, seed: int = 0
) -> Result:
    """A federation of 16 clients with `batch` digits each, and the attack on 8 of them."""
    settings = FederationSettings(
        dataset="digits",
        model=model,
        clients=16,
        samples_per_client=batch,
        rounds=rounds,
        local_steps=steps,
        batch_size=batch,
        lr=0.1,
    )
    federation, attack = Federation(settings, defense, digits, seed), Analytic()
    watched = watch(federation, digits, attack, TARGETS)
    found = attack.infer(watched.view, rng.generator(seed, "attack"))
    images = matched(found.images, watched.truth, digits).flatten(0, 1)
    psnr = image_metrics(images, watched.truth.flatten(0, 1), digits)["psnr"].reshape(TARGETS, batch)
    return Result(found, watched, psnr, labels_recovered(found.labels, watched.labels))


def layer_of(errors: Tensor, inputs: Tensor) -> Layer:
    """The gradient of a linear layer with errors `(T, B, r)` at its outputs on inputs `(T, B, in)`."""
    return Layer(errors.mT @ inputs, errors.sum(dim=1))


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# ---------------------------------------------------------------------------------------------------- the mathematics


@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(1, 9))
def test_one_sample_is_any_row_over_its_bias(seed: int, rows: int, width: int) -> None:
    errors, x = normal(3, 1, rows, seed=seed) + 2, normal(3, 1, width, seed=seed + 1)
    layer = layer_of(errors, x)
    torch.testing.assert_close(combined(layer), x[:, 0])
    torch.testing.assert_close(combined(layer), layer.weight[:, 0] / layer.bias[:, :1])


def test_rows_are_weighed_by_their_errors() -> None:
    """Least squares row by row, and torch's own; a layer of zeros gives 0."""
    layer = Layer(normal(2, 5, 3), normal(2, 5, seed=1))
    for t in range(2):
        expected = sum(layer.bias[t, i] * layer.weight[t, i] for i in range(5)) / sum(
            layer.bias[t, i] ** 2 for i in range(5)
        )
        torch.testing.assert_close(combined(layer)[t], expected)
        solved = torch.linalg.lstsq(layer.bias[t].unsqueeze(1), layer.weight[t]).solution[0]
        torch.testing.assert_close(combined(layer)[t], solved)
    assert combined(Layer(torch.zeros(1, 5, 3).double(), torch.zeros(1, 5).double())).eq(0).all()


def test_a_batch_of_the_same_errors_gives_the_average() -> None:
    x = normal(2, 3, 7)
    layer = layer_of(normal(2, 1, 5, seed=1).expand(-1, 3, -1), x)
    torch.testing.assert_close(combined(layer), x.mean(dim=1))


def test_errors_weigh_the_average() -> None:
    """Row i shows sum of e_i x over sum of e_i (Geiping et al. 2020, for more than one sample)."""
    errors, x = normal(1, 3, 1).abs(), normal(1, 3, 7, seed=1)
    weighted = (errors[0] * x[0]).sum(dim=0) / errors.sum()
    torch.testing.assert_close(combined(layer_of(errors, x))[0], weighted)


def test_rows_of_one_image_are_found_among_mixtures() -> None:
    """Rows 0 and 1 see image 0, rows 2 and 5 image 1, rows 3 and 4 both, row 6 none."""
    x = torch.tensor([[[0.0, 1.0, 0.5, 0.25], [1.0, 0.125, 0.75, 0.5]]]).double()
    errors = torch.tensor([[[0.3, -2.0, 0.0, 0.7, 1.0, 0.0, 0.0], [0.0, 0.0, -0.1, 0.4, -0.6, 3.0, 0.0]]]).double()
    found = repeated_rows(layer_of(errors, x), 2, 0.01, torch.zeros(4).double(), torch.ones(4).double())
    assert {tuple(row.round(decimals=9).tolist()) for row in found[0]} == {tuple(row.tolist()) for row in x[0]}


def test_a_row_that_stands_alone_must_be_a_possible_image() -> None:
    """Image 1 has one row only; the mixture of the last row lies outside of the pixels' range."""
    x = torch.tensor([[[0.0, 1.0, 0.5], [1.0, 0.0, 0.9]]]).double()
    errors = torch.tensor([[[0.3, -2.0, 2.0, 0.0], [0.0, 0.0, -1.0, 0.2]]]).double()
    found = repeated_rows(layer_of(errors, x), 3, 0.01, torch.zeros(3).double(), torch.ones(3).double())
    torch.testing.assert_close(found[:, :2], x)
    torch.testing.assert_close(found[0, 2], 2 * x[0, 0] - x[0, 1])  # the mixture, (2 x_0 - x_1) / (2 - 1)


def test_where_no_rows_agree_all_of_them_are_averaged() -> None:
    layer = Layer(normal(2, 6, 4), normal(2, 6, seed=1))
    found = repeated_rows(layer, 3, 0.01, torch.zeros(4).double(), torch.ones(4).double())
    torch.testing.assert_close(found, combined(layer).unsqueeze(1).expand(-1, 3, -1))


@pytest.mark.parametrize("scale", [1.0, 0.03])
def test_class_means_are_exact_where_all_answers_are_alike(scale: float) -> None:
    labels = torch.tensor([[0, 0, 3], [2, 1, 4]])
    x, y = normal(2, 3, 6), one_hot(labels, 5, torch.float64)
    p = normal(2, 1, 5, seed=1).softmax(dim=2)
    layer = layer_of(scale * (p - y) / 3, x)
    found = class_means(layer, y.sum(dim=1), torch.full((2, 1), scale).double())
    torch.testing.assert_close(found[0, 0], x[0, :2].mean(dim=0))
    torch.testing.assert_close(found[0, 3], x[0, 2])
    torch.testing.assert_close(found[1, [2, 1, 4]], x[1])
    torch.testing.assert_close(found[0, 1], x[0].mean(dim=0))  # a class without an image: the batch's average


def test_noise_outside_of_the_batchs_dimensions_is_left_out() -> None:
    """A rank-2 layer stays; of noise on 40 x 30 entries about a tenth of the squares is left, 2 (40 + 30) / 1200."""
    clean = layer_of(normal(1, 2, 40), normal(1, 2, 29, seed=1))
    kept = without_noise(clean, 2)
    torch.testing.assert_close(kept.weight, clean.weight)
    torch.testing.assert_close(kept.bias, clean.bias)
    noise = 1e-3 * normal(1, 40, 29, seed=2)
    left = without_noise(Layer(clean.weight + noise, clean.bias), 2).weight - clean.weight
    assert float(left.square().sum()) < 0.15 * float(noise.square().sum())


@given(st.integers(0, 2**32))
def test_signs_of_rows_and_columns_are_found_together(seed: int) -> None:
    """A fifth of the signs is random; 12 rows agree on every one of 40 signs all the same."""
    x, errors = normal(1, 1, 40, seed=seed).sign(), normal(1, 1, 12, seed=seed + 1).sign()
    generator = torch.Generator().manual_seed(seed)

    def randomized(signs: Tensor) -> Tensor:
        noise = torch.randint(-1, 2, signs.shape, generator=generator).double()
        return torch.where(torch.rand(signs.shape, generator=generator) < 0.2, noise, signs)

    votes = Layer(randomized(errors.mT @ x), errors[:, 0])
    found, against = common_signs(votes, 0.2)
    assert int((found.sign() != x[:, 0]).sum()) <= 1
    assert float(against) < 0.15
    exact, nothing = common_signs(Layer(errors.mT @ x, errors[:, 0]), 0.0)
    assert torch.equal(exact.sign(), x[:, 0])
    assert float(nothing) == 0


def test_votes_in_line_with_the_offset_count_less() -> None:
    """Of 10 signs with an offset 8 agree: the offset decided 0.6 of all, and of the 8 a quarter is left of g's own."""
    offset = torch.tensor([[1.0] * 5 + [-1.0] * 5 + [0.0]])
    sent = torch.tensor([[1.0] * 4 + [-1.0] + [-1.0] * 4 + [1.0] + [1.0]])
    found = gradient_signs(Observation(torch.zeros(11), sent, 0.1, sign=True, offset=offset))
    torch.testing.assert_close(found, torch.where(sent * offset > 0, sent / 4, sent))


def test_what_is_not_explained() -> None:
    x = normal(2, 2, 7)
    split = torch.zeros(2, 2, 6).double()
    split[:, 0, :3], split[:, 1, 3:] = normal(2, 3, seed=1), normal(2, 3, seed=2)  # each row of one image
    layer = layer_of(split, x)
    assert float(unexplained(layer, x).max()) < 1e-12
    torch.testing.assert_close(unexplained(layer, torch.zeros_like(x)), torch.ones(2).double())


@pytest.mark.parametrize(("name", "batch"), [("softmax", 1), ("mlp", 1), ("mlp", 2)])
def test_models_gradients_show_digits_to_rounding(name: str, batch: int, digits: Dataset) -> None:
    """In float64, straight from the backward pass: every pixel to 9 digits."""
    x = digits.test.x[: 4 * batch].double().unflatten(0, (4, batch))
    y = one_hot(digits.test.y[: 4 * batch], 10, torch.float64).unflatten(0, (4, batch))
    model = build(name, digits.shape, 10)
    params = model.initial(torch.Generator().manual_seed(0), torch.float64)
    weight, bias, *_ = model.split(model.gradients(params, x, y))
    low, high = (torch.full((64,), end).double() for end in (-10.0, 10.0))
    layer = Layer(weight, bias)
    found = combined(layer).unsqueeze(1) if batch == 1 else repeated_rows(layer, batch, 1e-6, low, high)
    found = matched(found.unflatten(2, digits.shape), x, digits)
    torch.testing.assert_close(found, x, rtol=1e-9, atol=1e-9)


# ------------------------------------------------------------------------------------------------ through a federation


@pytest.mark.parametrize("model", ["softmax", "mlp"])
@pytest.mark.parametrize(
    ("defense", "rounds", "steps"),
    [(FedAvg(), 1, 1), (FedAvg(), 2, 1), (FedAvg(), 1, 3), (RSA(), 2, 1)],
    ids=["one step", "two rounds", "three steps", "rsa"],
)
def test_one_sample_comes_out_exactly(model: str, defense: Defense, rounds: int, steps: int, digits: Dataset) -> None:
    """80 dB is a pixel to 1e-4: float32 messages; several local steps are rows of the same image."""
    result = play(digits, defense, model, rounds=rounds, steps=steps)
    assert float(result.psnr.min()) > 80
    assert result.labels == 1
    assert result.found.images.shape == (TARGETS, 1, *digits.shape)
    assert result.found.labels.shape == (TARGETS, 1)
    assert result.found.loss.shape == (TARGETS,)
    assert result.found.images.dtype == result.watched.truth.dtype


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_rsas_penalty_between_local_steps_is_left_over(model: str, digits: Dataset) -> None:
    """Of three local steps under RSA the penalty's part after the first is not known, and stays in the rows."""
    assert float(play(digits, RSA(), model, rounds=2, steps=3).psnr.min()) > 20


@pytest.mark.parametrize(("batch", "share"), [(2, 1.0), (4, 0.9), (8, 0.5)])
def test_relu_rows_tell_a_batchs_images_apart(batch: int, share: float, digits: Dataset) -> None:
    """200 hidden units, each active for half of the images: B 200 / 2^B rows of one image, 50 at B = 4, 6 at B = 8."""
    result = play(digits, FedAvg(), "mlp", batch)
    assert result.recovered >= share
    assert float(result.psnr.median()) > 60
    assert result.found.images.shape == (TARGETS, batch, *digits.shape)


@pytest.mark.parametrize("batch", [4, 8])
def test_softmax_shows_every_image_of_its_own_class_and_averages_the_others(batch: int, digits: Dataset) -> None:
    """At the common start, where all classes get the same p; images of one class come out as their average."""
    result = play(digits, FedAvg(), "softmax", batch)
    truth, labels = result.watched.truth, result.watched.labels
    same = (labels.unsqueeze(2) == labels.unsqueeze(1)).to(truth.dtype)
    means = torch.einsum("tbk,tkchw->tbchw", same / same.sum(dim=2, keepdim=True), truth)
    torch.testing.assert_close(matched(result.found.images, means, digits), means, atol=1e-4, rtol=1e-4)
    alone = same.sum(dim=2) == 1
    assert bool(alone.any())
    assert not bool(alone.all())
    assert float(result.psnr[alone].min()) > 60
    assert result.labels == 1


@pytest.mark.parametrize(("model", "batch"), [("softmax", 1), ("softmax", 4), ("mlp", 1), ("mlp", 2)])
def test_clipping_alone_hides_nothing(model: str, batch: int, digits: Dataset) -> None:
    """Clipped to 0.05 of norms near 1, which scales the gradient; epsilon = 10^9 leaves next to no noise."""
    assert play(digits, DPFedAvg(zeta=0.05, epsilon=1e9), model, batch).recovered >= 0.75


def test_more_noise_shows_less_and_rows_average_it(digits: Dataset) -> None:
    """Noise of standard deviation s on every entry of a softmax gradient leaves s / |db| on a pixel, |db| near 0.95."""
    x, y = digits.test.x[:200].unsqueeze(1), one_hot(digits.test.y[:200], 10, torch.float32).unsqueeze(1)
    model = build("softmax", digits.shape, 10)
    weight, bias = (part.double() for part in model.split(model.gradients(torch.zeros(model.dim), x, y)))
    length = float(bias[0].norm())
    assert length == pytest.approx((0.81 + 9 * 0.01) ** 0.5)
    for s in (1e-3, 1e-2):
        noisy = Layer(weight + s * normal(*weight.shape), bias + s * normal(*bias.shape, seed=1))
        for found in (combined(noisy), combined(without_noise(noisy, 1))):
            error = (found - x.flatten(1)).square().mean().sqrt()
            # On db too there is noise: it adds x^2 = 1 on average.
            assert float(error) == pytest.approx(s / length * 2**0.5, rel=0.1)


@pytest.mark.parametrize("model", ["softmax", "mlp"])
def test_default_noise_hides_the_image(model: str, digits: Dataset) -> None:
    result = play(digits, DPFedAvg(), model)
    assert float(result.psnr.max()) < 12
    assert float(result.found.loss.min()) > 0.1  # what noise is left over stands in the loss


@pytest.mark.parametrize("model", ["softmax", "mlp"])
@pytest.mark.parametrize(("gamma", "least"), [(0.0, 0.99), (0.283, 0.97)])
def test_linked_signs_tell_the_sign_of_a_pixel(model: str, gamma: float, least: float, digits: Dataset) -> None:
    """Which is right for nearly all pixels, and the picture is no better than that: under 20 dB."""
    result = play(digits, LDPBFL(gamma=gamma), model, rounds=2)
    right = result.found.images.sign() == result.watched.truth.sign()
    assert float(right.double().mean()) >= least
    pixels = digits.denormalise(result.found.images)
    assert float(pixels.min()) >= 0
    assert float(pixels.max()) <= 1
    assert 13 < float(result.psnr.median()) < 20


def test_shuffled_signs_tell_nothing_of_one_client(digits: Dataset) -> None:
    result = play(digits, DPBFL(), "softmax", rounds=2)
    blind = result.watched.view.mean_image.expand_as(result.watched.truth).flatten(0, 1)
    guess = image_metrics(blind, result.watched.truth.flatten(0, 1), digits)["psnr"]
    assert float(result.psnr.median()) < float(guess.median()) + 1


def test_nothing_is_drawn(digits: Dataset) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    watched = play(digits, FedAvg(), "mlp", 4).watched
    first, second = (Analytic().infer(watched.view, torch.Generator().manual_seed(seed)) for seed in (0, 1))
    assert torch.equal(first.images, second.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_models_that_begin_otherwise_are_refused(digits: Dataset) -> None:
    with pytest.raises(ValueError, match=r"^model is 'lenet', but must be one whose first layer is linear with a bias"):
        play(digits, FedAvg(), "lenet")


@pytest.mark.parametrize("same", [0.0, -1.0])
def test_parameters_out_of_range_are_refused(same: Any) -> None:
    with pytest.raises(ValueError, match="same"):
        Analytic(same=same)
