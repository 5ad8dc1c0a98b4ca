"""The clients' gradients of the convolutional networks, beside what torch.func makes of the same module.

ByzFL's default: 10 clients, batches of 25, images of MNIST's size.
"""

import pytest
import torch
from torch import Tensor, nn

from bench import models
from bench.base import rng
from bench.models.base import Model, Shape
from bench.models.convolutional import ConvolutionalModel
from bench.models.module import ModuleModel
from bench.perf.tracker import Tracker

pytestmark = pytest.mark.performance

SHAPE, CLASSES = (1, 28, 28), 10
CLIENTS, BATCH = 10, 25
NAMES = ["cnn_small", "cnn"]


class Module(ModuleModel):
    """A convolutional network of the bench as a torch.nn module, under `vmap(grad)`."""

    name = "module"

    def __init__(self, of: ConvolutionalModel) -> None:
        self.of = of
        super().__init__(of.input_shape, of.num_classes)

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        layers: list[nn.Module] = []
        for stage in self.of.stages:
            convolution = nn.Conv2d(stage.in_channels, stage.out_channels, 5, padding=stage.padding)
            layers += [convolution, nn.ReLU(), nn.MaxPool2d(2)]
        hidden, features = self.of.shapes[-4]
        layers += [nn.Flatten(), nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, num_classes)]
        return nn.Sequential(*layers)


def built(name: str, way: str) -> Model:
    model = models.build(name, SHAPE, CLASSES)
    assert isinstance(model, ConvolutionalModel)
    return model if way == "ours" else Module(model)


def batch() -> tuple[Tensor, Tensor]:
    source = rng.generator(0, "benchmark", "cnn")
    x = torch.randn(CLIENTS, BATCH, *SHAPE, generator=source)
    labels = torch.randint(CLASSES, (CLIENTS, BATCH), generator=source)
    return x, models.one_hot(labels, CLASSES, x.dtype)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ours", "vmap"])
def test_clients_that_share_a_model(tracked: Tracker, name: str, way: str) -> None:
    model, (x, targets) = built(name, way), batch()
    params = model.initial(rng.generator(0, "benchmark", name))
    found = tracked(lambda: model.gradients(params, x, targets), by="matmul", memory=True)
    mean = Module(models.build(name, SHAPE, CLASSES)).gradients(
        params, x.flatten(0, 1)[None], targets.flatten(0, 1)[None]
    )
    torch.testing.assert_close(found.mean(dim=0), mean[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ours", "vmap"])
def test_clients_with_models_of_their_own(tracked: Tracker, name: str, way: str) -> None:
    """A local step after the first."""
    model, (x, targets) = built(name, way), batch()
    params = model.initial(rng.generator(0, "benchmark", name)).repeat(CLIENTS, 1)
    before = params.clone()
    tracked(lambda: model.descend_(params, x, targets, 1e-4), by="matmul", memory=True)
    assert bool((params != before).any(dim=1).all())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("way", ["ours", "vmap"])
def test_logits_of_an_evaluation_batch(tracked: Tracker, name: str, way: str) -> None:
    model = built(name, way)
    x = torch.randn(2000, *SHAPE, generator=rng.generator(0, "benchmark", "logits"))
    params = model.initial(rng.generator(0, "benchmark", name))
    found = tracked(lambda: model.logits(params, x), by="matmul")
    assert found.shape == (2000, CLASSES)
