"""The models against plain torch.nn modules with the same weights: sizes, logits, gradients, second derivatives."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import models
from bench.errors import BadInputError
from bench.models import Model, Shape
from bench.rng import generator

SHAPE, CLASSES = (2, 8, 12), 5  # not square, so that a swapped axis shows
NAMES = ("softmax", "mlp", "lenet", "cnn")
every_model = pytest.mark.parametrize("name", NAMES)


def plain(name: str, shape: Shape, classes: int) -> nn.Module:
    """The model as anybody would write it."""
    channels, height, width = shape
    pixels = math.prod(shape)
    if name == "softmax":
        return nn.Sequential(nn.Flatten(), nn.Linear(pixels, classes))
    if name == "mlp":
        layers = (nn.Linear(pixels, 200), nn.ReLU(), nn.Linear(200, 200), nn.ReLU(), nn.Linear(200, classes))
        return nn.Sequential(nn.Flatten(), *layers)
    if name == "lenet":
        return nn.Sequential(
            nn.Conv2d(channels, 12, 5, padding=2, stride=2), nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, padding=2, stride=2), nn.Sigmoid(),
            nn.Conv2d(12, 12, 5, padding=2, stride=1), nn.Sigmoid(),
            nn.Flatten(), nn.Linear(12 * -(-height // 4) * -(-width // 4), classes),
        )  # fmt: skip
    assert name == "cnn"
    return nn.Sequential(
        nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 512), nn.ReLU(), nn.Linear(512, classes),
    )  # fmt: skip


def loaded(name: str, params: Tensor, shape: Shape = SHAPE, classes: int = CLASSES) -> nn.Module:
    module = plain(name, shape, classes).to(params.dtype)
    nn.utils.vector_to_parameters(params.clone(), module.parameters())
    return module


def plain_gradient(name: str, params: Tensor, x: Tensor, targets: Tensor, keep_graph: bool = False) -> Tensor:
    """The gradient `(d,)` of one client's mean cross-entropy, by autograd."""
    module = loaded(name, params)
    loss = cross_entropy(module(x), targets)
    parts = torch.autograd.grad(loss, list(module.parameters()), create_graph=keep_graph)
    return torch.cat([part.flatten() for part in parts])


def draw(name: str, *, clients: int = 3, batch: int = 4, seed: int = 0) -> tuple[Model, Tensor, Tensor, Tensor]:
    """(model, params `(m, d)`, x `(m, B, ...)`, labels `(m, B)`) in float64."""
    model, source = models.build(name, SHAPE, CLASSES), generator(seed, "test", name)
    params = 0.2 * torch.randn(clients, model.dim, generator=source, dtype=torch.float64)
    x = torch.randn(clients, batch, *SHAPE, generator=source, dtype=torch.float64)
    return model, params, x, torch.randint(CLASSES, (clients, batch), generator=source)


def hard(labels: Tensor) -> Tensor:
    return models.one_hot(labels, CLASSES, torch.float64)


def soft(labels: Tensor) -> Tensor:
    return torch.randn(*labels.shape, CLASSES, generator=generator(1), dtype=torch.float64).softmax(-1)


def test_one_hot_marks_the_label() -> None:
    found = models.one_hot(torch.tensor([[2, 0]]), 3, torch.float64)
    assert torch.equal(found, torch.tensor([[[0, 0, 1], [1, 0, 0]]], dtype=torch.float64))
    assert found.dtype == torch.float64


@pytest.mark.parametrize(
    ("name", "shape", "classes", "dim"),
    [
        ("softmax", (1, 28, 28), 10, 7_850),
        ("mlp", (1, 28, 28), 10, 199_210),
        ("cnn", (1, 28, 28), 10, 1_663_370),
        ("lenet", (3, 32, 32), 100, 85_036),
        ("alexnet", (3, 32, 32), 10, 57_044_810),
        ("alexnet", (1, 28, 28), 10, 57_044_816),  # and a 1x1 convolution from one channel to three
    ],
)
def test_dims_are_those_of_the_papers(name: str, shape: Shape, classes: int, dim: int) -> None:
    assert models.build(name, shape, classes).dim == dim


@every_model
def test_dim_is_that_of_the_plain_module(name: str) -> None:
    expected = sum(parameter.numel() for parameter in plain(name, SHAPE, CLASSES).parameters())
    assert models.build(name, SHAPE, CLASSES).dim == expected


@every_model
def test_split_gives_views_in_the_order_of_the_plain_module(name: str) -> None:
    model, params, _, _ = draw(name, clients=2)
    parts = model.split(params)
    for part, parameter in zip(parts, loaded(name, params[1]).parameters(), strict=True):
        assert torch.equal(part[1].flatten(), parameter.detach().flatten())
    parts[0].zero_()
    assert bool((params[:, : parts[0][0].numel()] == 0).all())


@every_model
def test_logits(name: str) -> None:
    model, params, x, _ = draw(name)
    expected = loaded(name, params[0])(x[0])
    torch.testing.assert_close(model.logits(params[0], x[0]), expected, rtol=1e-10, atol=1e-12)


@every_model
@pytest.mark.parametrize("targets_of", [hard, soft])
def test_gradients_of_clients_with_models_of_their_own(name: str, targets_of: Callable[[Tensor], Tensor]) -> None:
    model, params, x, labels = draw(name)
    targets = targets_of(labels)
    found = model.gradients(params, x, targets)
    expected = [plain_gradient(name, *client) for client in zip(params, x, targets, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-8, atol=1e-12)


@every_model
@pytest.mark.parametrize("targets_of", [hard, soft])
def test_gradients_of_clients_that_share_a_model(name: str, targets_of: Callable[[Tensor], Tensor]) -> None:
    model, params, x, labels = draw(name)
    targets = targets_of(labels)
    found = model.gradients(params[0], x, targets)
    expected = [plain_gradient(name, params[0], *client) for client in zip(x, targets, strict=True)]
    torch.testing.assert_close(found, torch.stack(expected), rtol=1e-8, atol=1e-12)


@every_model
def test_gradients_of_one_client_with_one_sample(name: str) -> None:
    model, params, x, labels = draw(name, clients=1, batch=1)
    found = model.gradients(params, x, hard(labels))
    assert found.shape == (1, model.dim)
    torch.testing.assert_close(found[0], plain_gradient(name, params[0], x[0], hard(labels)[0]), rtol=1e-8, atol=1e-12)


@every_model
def test_descend_is_one_step_of_sgd_in_place_and_in_these_rows_only(name: str) -> None:
    model, params, x, labels = draw(name)
    everyone = torch.cat([params, params[:2]])
    rows = everyone[1:4]
    before, step = rows.clone(), 0.3 * model.gradients(rows, x, hard(labels))
    model.descend_(rows, x, hard(labels), 0.3)
    torch.testing.assert_close(everyone[1:4], before - step, rtol=1e-10, atol=1e-12)
    assert torch.equal(everyone[0], params[0])
    assert torch.equal(everyone[4], params[1])


@pytest.mark.parametrize("name", ["mlp", "lenet"])
def test_gradients_can_be_differentiated_by_the_images_and_the_targets(name: str) -> None:
    model = models.build(name, (1, 4, 5), 3)
    source = generator(3)
    params = 0.3 * torch.randn(2, model.dim, generator=source, dtype=torch.float64)
    across = torch.randn(model.dim, generator=source, dtype=torch.float64)
    x = torch.randn(2, 1, 1, 4, 5, generator=source, dtype=torch.float64, requires_grad=True)
    logits = torch.randn(2, 1, 3, generator=source, dtype=torch.float64, requires_grad=True)

    def projected(images: Tensor, guess: Tensor) -> Tensor:
        return model.gradients(params, images, guess.softmax(-1)) @ across

    assert torch.autograd.gradcheck(projected, (x, logits))


@every_model
@pytest.mark.parametrize("shared", [True, False])
def test_second_derivative_of_a_matching_loss(name: str, shared: bool) -> None:
    """What gradient inversion needs: the derivative by x of |gradient(x) - target|^2, against double autograd."""
    model, params, x, labels = draw(name, clients=2, batch=1)
    params = params[0] if shared else params
    target = torch.randn(2, model.dim, generator=generator(5), dtype=torch.float64)
    x.requires_grad_()
    mine = (model.gradients(params, x, hard(labels)) - target).square().sum()
    (found,) = torch.autograd.grad(mine, x)
    for row in range(2):
        own = params if shared else params[row]
        gradient = plain_gradient(name, own, x[row], hard(labels)[row], keep_graph=True)
        (expected,) = torch.autograd.grad((gradient - target[row]).square().sum(), x)
        torch.testing.assert_close(found[row], expected[row], rtol=1e-7, atol=1e-10)


@given(st.sampled_from(NAMES[:3]), st.integers(0, 2**31))
def test_class_errors_are_negative_at_the_label_alone(name: str, seed: int) -> None:
    model, params, x, labels = draw(name, clients=3, batch=1, seed=seed)
    errors = model.class_errors(model.gradients(params, x, hard(labels)))
    assert torch.equal(errors < 0, hard(labels)[:, 0].bool())


@every_model
def test_class_errors_are_proportional_to_p_minus_y(name: str) -> None:
    model, params, x, labels = draw(name, clients=3, batch=1)
    errors = model.class_errors(model.gradients(params, x, hard(labels)))
    p = torch.stack([model.logits(*client)[0].softmax(-1) for client in zip(params, x, strict=True)])
    ratio = errors / (p - hard(labels)[:, 0])
    assert bool((ratio > 0).all())
    torch.testing.assert_close(ratio, ratio[:, :1].expand_as(ratio), rtol=1e-6, atol=0)


@every_model
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_initial_is_a_function_of_the_generator(name: str, dtype: torch.dtype) -> None:
    model, state = models.build(name, SHAPE, CLASSES), torch.get_rng_state()
    first, again, other = (model.initial(generator(seed), dtype) for seed in (1, 1, 2))
    assert first.shape == (model.dim,)
    assert first.dtype == dtype
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "softmax")
    assert torch.equal(torch.get_rng_state(), state)


def test_softmax_starts_at_zero() -> None:
    model = models.build("softmax", SHAPE, CLASSES)
    assert not bool(model.initial(generator(0)).any())


@pytest.mark.parametrize("name", ["mlp", "lenet", "cnn"])
def test_initial_fills_its_bounds(name: str) -> None:
    """1 / sqrt(fan in), torch's default, for weights and biases; 0.5 for LeNet, as DLG's authors have it."""
    model, layers = models.build(name, SHAPE, CLASSES), []
    for layer in plain(name, SHAPE, CLASSES).modules():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            layers += [layer.weight[0].numel() ** -0.5] * 2
    parts = model.split(model.initial(generator(0), torch.float64))
    for part, default in zip(parts, layers, strict=True):
        bound = 0.5 if name == "lenet" else default
        assert float(part.abs().max()) <= bound
        if part.numel() >= 200:
            assert float(part.max()) > 0.95 * bound
            assert float(part.min()) < -0.95 * bound


def test_alexnet_is_torchvisions_on_enlarged_images_without_dropout() -> None:
    from torchvision.models import alexnet

    model = models.build("alexnet", (3, 32, 32), 10)
    params, x = model.initial(generator(0)), torch.randn(2, 3, 32, 32, generator=generator(1))
    with torch.device("meta"):
        module = alexnet(num_classes=10).eval()
    keys = [key for key, _ in module.named_parameters()]
    module.load_state_dict(dict(zip(keys, model.split(params), strict=True)), assign=True)
    with torch.no_grad():
        found, expected = model.logits(params, x), module(x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3))
    assert found.shape == (2, 10)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(("typed", "meant"), [("softmx", "softmax"), ("LeNet", "lenet"), ("zzz", None)])
def test_an_unknown_model_names_the_nearest(typed: str, meant: str | None) -> None:
    with pytest.raises(BadInputError) as caught:
        models.build(typed, SHAPE, CLASSES)
    assert repr(typed) in str(caught.value)
    for name in [meant] if meant else models.MODELS:
        assert name in str(caught.value)


def test_every_model_is_known_by_its_own_name() -> None:
    for name in models.MODELS:
        model = models.build(name, (1, 28, 28), 10)
        assert (model.name, model.input_shape, model.num_classes) == (name, (1, 28, 28), 10)
