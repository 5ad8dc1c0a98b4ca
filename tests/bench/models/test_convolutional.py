"""The convolutional networks against a plain torch.nn module, client by client."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import models
from bench.base.errors import BadInputError
from bench.base.rng import generator
from bench.models import convolutional
from bench.models.base import Model, Shape
from bench.models.module import ModuleModel

CLASSES = 4
SHAPES: list[Shape] = [
    (1, 28, 28),
    (3, 17, 22),
]  # the second: colour, not square, pools that leave a row or column over
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-10}
both_models = pytest.mark.parametrize("name", ["cnn", "cnn_small"])
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)


def plain(name: str, shape: Shape) -> nn.Sequential:
    """The model as its paper, or ByzFL, has it."""
    first, second, hidden, padding = {"cnn": (32, 64, 512, 2), "cnn_small": (20, 50, 500, 0)}[name]
    convolutions = nn.Sequential(
        nn.Conv2d(shape[0], first, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 5, padding=padding), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
    )  # fmt: skip
    features = convolutions(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(*convolutions, nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, CLASSES))


class Reference(ModuleModel):
    """The plain module as a model of the bench."""

    name = "reference"

    def __init__(self, of: str, input_shape: Shape) -> None:
        self.of = of
        super().__init__(input_shape, CLASSES)

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        with torch.device("cpu"):
            return plain(self.of, input_shape)


def loaded(name: str, shape: Shape, params: Tensor) -> nn.Module:
    module = plain(name, shape).to(params.dtype)
    nn.utils.vector_to_parameters(params.clone(), module.parameters())
    return module


def plain_gradients(name: str, params: Tensor, x: Tensor, targets: Tensor, keep_graph: bool = False) -> Tensor:
    """`(m, d)`, one client after the other through autograd."""
    rows = []
    for own, images, wanted in zip(params.expand(len(x), -1), x, targets, strict=True):
        module = loaded(name, tuple(x.shape[2:]), own.detach())
        loss = cross_entropy(module(images), wanted)
        parts = torch.autograd.grad(loss, list(module.parameters()), create_graph=keep_graph)
        rows.append(torch.cat([part.flatten() for part in parts]))
    return torch.stack(rows)


def draw(
    name: str, shape: Shape, dtype: torch.dtype, *, shared: bool, clients: int = 3, batch: int = 4
) -> tuple[Model, Tensor, Tensor, Tensor]:
    """(model, params `(d,)` or `(m, d)`, x `(m, B, C, H, W)`, one-hot targets)."""
    model, source = models.build(name, shape, CLASSES), generator(2, name, shape[1])
    params = model.initial(source, dtype)
    if not shared:
        params = params + 0.01 * torch.randn(clients, model.dim, generator=source, dtype=dtype)
    x = torch.randn(clients, batch, *shape, generator=source, dtype=dtype)
    labels = torch.randint(CLASSES, (clients, batch), generator=source)
    return model, params, x, models.one_hot(labels, CLASSES, dtype)


def assert_near(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=TOLERANCE[expected.dtype], atol=TOLERANCE[expected.dtype])


@both_models
@every_shape
@both_dtypes
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize(("clients", "batch"), [(3, 4), (2, 1), (1, 3)])
def test_gradients(name: str, shape: Shape, dtype: torch.dtype, shared: bool, clients: int, batch: int) -> None:
    model, params, x, targets = draw(name, shape, dtype, shared=shared, clients=clients, batch=batch)
    assert_near(model.gradients(params, x, targets), plain_gradients(name, params, x, targets))


@both_models
def test_gradients_of_a_window_of_larger_shards(name: str) -> None:
    """What the engine hands over is a view with gaps between the clients."""
    model, params, x, targets = draw(name, (3, 17, 22), torch.float64, shared=True, batch=6)
    found = model.gradients(params, x[:, 2:5], targets[:, 2:5])
    assert_near(found, plain_gradients(name, params, x[:, 2:5], targets[:, 2:5]))


@both_models
def test_gradients_of_soft_targets(name: str) -> None:
    model, params, x, targets = draw(name, (1, 28, 28), torch.float64, shared=True)
    soft = (targets + 0.3).softmax(-1)
    assert_near(model.gradients(params, x, soft), plain_gradients(name, params, x, soft))


@both_models
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
def test_what_is_computed_together_changes_nothing(name: str, shared: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    model, params, x, targets = draw(name, (1, 28, 28), torch.float64, shared=shared, clients=5)
    together = model.gradients(params, x, targets)
    per_image = max(stage.numel for stage in models.CNN((1, 28, 28), CLASSES).stages) * x.element_size()
    for chunk in (1, 8 * per_image):  # one client at a time; two, and one is left over
        monkeypatch.setattr(convolutional, "CHUNK_BYTES", chunk)
        assert_near(model.gradients(params, x, targets), together)


@both_models
@every_shape
@both_dtypes
def test_logits(name: str, shape: Shape, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    model, params, x, _ = draw(name, shape, dtype, shared=True)
    expected = loaded(name, shape, params)(x.flatten(0, 1)).detach()
    assert_near(model.logits(params, x.flatten(0, 1)), expected)
    monkeypatch.setattr(convolutional, "CHUNK_BYTES", 1)
    assert_near(model.logits(params, x.flatten(0, 1)), expected)


@both_models
@both_dtypes
def test_update_is_what_a_step_from_the_shared_model_adds(name: str, dtype: torch.dtype) -> None:
    model, params, x, targets = draw(name, (1, 28, 28), dtype, shared=True)
    everyone = torch.full((5, model.dim), 7.0, dtype=dtype)
    model.update(params, x, targets, 0.3, out=everyone[1:4])
    assert_near(everyone[1:4], -0.3 * plain_gradients(name, params, x, targets))
    assert bool((everyone[[0, 4]] == 7).all())


@both_models
@both_dtypes
def test_descend_is_a_step_of_every_client_in_place_and_of_nobody_else(name: str, dtype: torch.dtype) -> None:
    model, params, x, targets = draw(name, (1, 28, 28), dtype, shared=False)
    everyone = torch.cat([params[:1], params, params[:1]])
    model.descend_(everyone[1:4], x, targets, 0.3)
    assert_near(everyone[1:4], params - 0.3 * plain_gradients(name, params, x, targets))
    assert torch.equal(everyone[[0, 4]], params[[0, 0]])


@both_models
@pytest.mark.parametrize("shared", [True, False], ids=["shared", "own"])
@pytest.mark.parametrize("batch", [1, 2])
def test_gradients_can_be_differentiated_by_the_images(name: str, shared: bool, batch: int) -> None:
    """The derivative by x of |gradient(x) - wanted|^2, which gradient inversion descends, against double autograd."""
    model, params, x, targets = draw(name, (1, 16, 18), torch.float64, shared=shared, clients=2, batch=batch)
    wanted = torch.randn(2, model.dim, generator=generator(5), dtype=torch.float64)
    x.requires_grad_()
    found, expected = (
        torch.autograd.grad((gradients - wanted).square().sum(), x)[0]
        for gradients in (
            model.gradients(params, x, targets),
            plain_gradients(name, params, x, targets, keep_graph=True),
        )
    )
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-10)


def layers(shapes: list[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """For each parameter the shape of its layer's weights: a bias follows them."""
    return [shapes[at - (len(shape) == 1)] for at, shape in enumerate(shapes)]


@both_models
@every_shape
@both_dtypes
def test_parameters_have_torchs_order_and_start(name: str, shape: Shape, dtype: torch.dtype) -> None:
    model, reference = models.build(name, shape, CLASSES), Reference(name, shape)
    assert model.shapes == reference.shapes
    for values, weights in zip(model.split(model.initial(generator(3), dtype)), layers(model.shapes), strict=True):
        bound = math.prod(weights[1:]) ** -0.5  # 1 / sqrt(fan in), of weights and biases alike
        assert values.dtype == dtype
        assert float(values.abs().max()) <= bound * (1 + torch.finfo(torch.float32).eps)
        assert float(values.abs().max()) > bound * (1 - 14 / values.numel())  # uniform; false alarm e^-14


def test_the_small_cnn_is_as_large_as_byzfls() -> None:
    assert models.build("cnn_small", (1, 28, 28), 10).dim == 431_080


@pytest.mark.parametrize(("name", "smallest"), [("cnn", 4), ("cnn_small", 16)])
def test_images_that_are_too_small_are_refused(name: str, smallest: int) -> None:
    model, params, x, targets = draw(name, (2, smallest, smallest + 3), torch.float64, shared=True)
    assert model.dim == sum(math.prod(shape) for shape in model.shapes)
    assert_near(model.gradients(params, x, targets), plain_gradients(name, params, x, targets))
    with pytest.raises(BadInputError, match=f"'{name}' cannot take images of {smallest - 1} x 40"):
        models.build(name, (2, smallest - 1, 40), CLASSES)


@every_shape
@both_models
def test_weight_gradients_at_once_are_those_client_by_client(name: str, shape: Shape) -> None:
    """The form for a GPU, on every stage of the model."""
    model, source = models.build(name, shape, CLASSES), generator(0, "at once")
    assert isinstance(model, convolutional.ConvolutionalModel)
    for stage in model.stages:
        images = torch.randn(6, stage.in_channels, *stage.in_size, generator=source, dtype=torch.float64)
        error = torch.randn(6, stage.out_channels, *stage.size, generator=source, dtype=torch.float64)
        out = images.new_empty(3, *stage.weight_shape)
        found = stage.weight_gradients_at_once(error, images, 2, out)
        wanted = stage.weight_gradients(error, images, 2, None)
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-9)
        assert found is out
