"""The small CNN with GroupNorm against the plain module, client by client."""

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from bench import models
from bench.base.rng import generator
from bench.models import GroupNormCNN, one_hot


def plain(classes: int) -> nn.Module:
    """As anybody would write it, for images of 16 x 16."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(4, 16), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(8, 32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1), nn.GroupNorm(8, 64), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 4, 64), nn.ReLU(), nn.Linear(64, classes),
    )  # fmt: skip


@pytest.fixture
def drawn() -> tuple[models.Model, torch.Tensor, torch.Tensor, torch.Tensor]:
    model, source = models.build("cnn_group_norm", (3, 16, 16), 5), generator(0, "test")
    params = torch.stack([model.initial(source, torch.float64) for _ in range(2)])
    x = torch.randn(2, 3, 3, 16, 16, generator=source, dtype=torch.float64)
    return model, params, x, torch.randint(5, (2, 3), generator=source)


@pytest.mark.parametrize("shared", [True, False])
def test_gradients_are_those_of_the_plain_module(drawn, shared):
    model, params, x, labels = drawn
    found = model.gradients(params[0] if shared else params, x, one_hot(labels, 5, x.dtype))
    for client in range(2):
        module = plain(5).double()
        nn.utils.vector_to_parameters(params[0 if shared else client].clone(), module.parameters())
        loss = cross_entropy(module(x[client]), labels[client])
        wanted = torch.cat([part.flatten() for part in torch.autograd.grad(loss, list(module.parameters()))])
        torch.testing.assert_close(found[client], wanted)
        torch.testing.assert_close(model.logits(params[0 if shared else client], x[client]), module(x[client]))


def test_a_client_has_the_same_bits_alone(drawn):
    model, params, x, labels = drawn
    targets = one_hot(labels, 5, x.dtype)
    together = model.gradients(params, x, targets)
    alone = torch.cat([model.gradients(params[i : i + 1], x[i : i + 1], targets[i : i + 1]) for i in range(2)])
    assert torch.equal(together, alone)


def test_it_has_about_1e5_parameters_on_cifar10_and_no_statistics():
    model = GroupNormCNN((3, 32, 32), 10)
    assert model.dim == 90_058
    assert model.num_statistics == 0


def test_gradients_can_be_differentiated_again(drawn):
    model, params, x, labels = drawn
    images = x[:1].clone().requires_grad_()
    model.gradients(params[0], images, one_hot(labels[:1], 5, x.dtype)).square().sum().backward()
    assert float(images.grad.abs().max()) > 0


def test_initial_parameters_follow_the_generator_alone():
    model = GroupNormCNN((3, 16, 16), 5)
    first, second, other = (model.initial(generator(seed, "initial")) for seed in (0, 0, 1))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
