"""The models against plain torch.nn modules with the same weights: sizes, logits, gradients, second derivatives."""

import math
from collections.abc import Callable
from typing import cast

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from bench import models, registry
from bench.base.errors import BadInputError
from bench.base.rng import generator
from bench.federation.clients import Step
from bench.models.base import Model, Shape
from bench.models.module import ModuleModel

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


def test_alexnet_starts_where_it_always_has() -> None:
    """From the engine's generator, one uniform draw a parameter: the published records of figure 11 began there."""
    model = models.build("alexnet", (1, 8, 8), 10)
    params = model.initial(generator(0))
    uniform = torch.rand(6, generator=generator(0))
    first = model.split(params)[0].flatten()
    assert first.tolist()[:3] == [2 * value - 1 for value in uniform.tolist()[:3]]  # a 1 x 1 kernel's bound is 1


# ------------------------------------------------------------------------------------------------------ any nn.Module


class Functional(nn.Module):
    """Dropout that no layer names."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate, self.head = rate, nn.Linear(math.prod(SHAPE), CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.head(torch.dropout(x.flatten(1), self.rate, self.training)))


def own_model(*layers: Callable[[], nn.Module]) -> type[ModuleModel]:
    """A model of a few layers around a convolution and a head."""

    class Own(ModuleModel):
        name = "own"

        def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
            middle = [layer() for layer in layers]
            size = 6 * input_shape[1] * input_shape[2]
            head = (nn.Flatten(), nn.Linear(size, num_classes))
            return nn.Sequential(nn.Conv2d(input_shape[0], 6, 3, padding=1), *middle, nn.ReLU(), *head)

    return Own


def test_a_module_starts_with_its_own_initialisation() -> None:
    """The weights of GroupNorm are 1 and its biases 0; the rest is what torch draws from the seed."""
    model = own_model(lambda: nn.GroupNorm(3, 6))(SHAPE, CLASSES)
    state = torch.get_rng_state()
    params = model.initial(generator(3))
    assert torch.equal(torch.get_rng_state(), state)
    weight, bias = model.split(params)[2:4]
    assert weight.tolist() == [1.0] * 6
    assert bias.tolist() == [0.0] * 6
    assert torch.equal(params, model.initial(generator(3)))
    assert not torch.equal(params, model.initial(generator(4)))
    assert model.initial(generator(3), torch.float64).dtype == torch.float64
    for part in model.split(params)[:2]:
        assert 0.5 / 18**0.5 < float(part.abs().max()) <= 1 / 18**0.5  # torch's default bound, of 2 channels of 3 x 3


def test_an_own_initialisation_is_kept() -> None:
    def constant() -> nn.Module:
        layer = nn.Conv2d(6, 6, 1)
        nn.init.constant_(layer.weight, 0.25)
        return layer

    model = own_model(constant)(SHAPE, CLASSES)
    assert model.split(model.initial(generator(0)))[2].unique().tolist() == [0.25]


def test_a_module_with_group_norm_trains() -> None:
    model = own_model(lambda: nn.GroupNorm(3, 6))(SHAPE, CLASSES)
    params = model.initial(generator(0), torch.float64)
    x = torch.randn(3, 4, *SHAPE, generator=generator(1), dtype=torch.float64)
    targets = hard(torch.randint(CLASSES, (3, 4), generator=generator(2)))
    found = model.gradients(params, x, targets)
    module = model.build(SHAPE, CLASSES).double()
    nn.utils.vector_to_parameters(params, module.parameters())
    for row in range(3):
        parts = torch.autograd.grad(cross_entropy(module(x[row]), targets[row]), list(module.parameters()))
        torch.testing.assert_close(found[row], torch.cat([part.flatten() for part in parts]), rtol=1e-8, atol=1e-12)


def normalised() -> ModuleModel:
    """A model with BatchNorm of both kinds, at different momenta, behind a convolution."""
    layers = (lambda: nn.BatchNorm2d(6), nn.Flatten, lambda: nn.BatchNorm1d(6 * 8 * 12, momentum=0.3))
    return own_model(*layers)(SHAPE, CLASSES)


def with_statistics(model: ModuleModel, params: Tensor) -> nn.Module:
    """The module with these parameters and running statistics."""
    module = model.build(SHAPE, CLASSES).to(params.dtype)
    trained, statistics = params.tensor_split([model.num_trained])
    nn.utils.vector_to_parameters(trained.clone(), module.parameters())
    kept = [tensor for name, tensor in module.named_buffers() if "num_batches" not in name]
    for own, value in zip(kept, statistics.split([len(tensor) for tensor in kept]), strict=True):
        own.copy_(value)
    return module


def flat(module: nn.Module) -> Tensor:
    kept = [tensor for name, tensor in module.named_buffers() if "num_batches" not in name]
    return torch.cat([tensor.detach().flatten() for tensor in (*module.parameters(), *kept)])


def test_running_statistics_stand_behind_the_parameters() -> None:
    model = normalised()
    assert model.num_statistics == 2 * (6 + 6 * 8 * 12)
    assert model.dim == model.num_trained + model.num_statistics
    params = model.initial(generator(3), torch.float64)
    assert params[model.num_trained :].unique().tolist() == [0.0, 1.0]  # means and variances that have seen nothing
    assert torch.equal(params, model.initial(generator(3), torch.float64))
    assert torch.equal(flat(with_statistics(model, params)), params)


def test_local_training_with_batch_norm_is_the_plain_loop() -> None:
    """Three clients, some steps from a shared model: parameters by torch.optim.SGD, statistics by the layers."""
    model = normalised()
    params = model.initial(generator(0), torch.float64)
    x = torch.randn(4, 3, 5, *SHAPE, generator=generator(1), dtype=torch.float64)
    labels = torch.randint(CLASSES, (4, 3, 5), generator=generator(2))
    updates = torch.empty(3, model.dim, dtype=torch.float64)
    model.update(params, x[0], hard(labels[0]), 0.1, out=updates)
    found = params + updates
    for batch, answers in zip(x[1:], labels[1:], strict=True):
        model.descend_(found, batch, hard(answers), 0.1)
    for client in range(3):
        module = with_statistics(model, params).train()
        optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
        for batch, answers in zip(x[:, client], labels[:, client], strict=True):
            optimizer.zero_grad()
            cross_entropy(module(batch), answers).backward()
            optimizer.step()
        torch.testing.assert_close(found[client], flat(module), rtol=1e-9, atol=1e-11)
        tested = with_statistics(model, found[client]).eval()
        torch.testing.assert_close(model.logits(found[client], x[0, 0]), tested(x[0, 0]), rtol=1e-9, atol=1e-11)
    moved = (found - params)[:, model.num_trained :]
    assert float(moved.abs().min()) > 0


def test_decay_and_clipping_leave_running_statistics_alone() -> None:
    model = normalised()
    params = model.initial(generator(0), torch.float64)
    x = torch.randn(2, 5, *SHAPE, generator=generator(1), dtype=torch.float64)
    targets = hard(torch.randint(CLASSES, (2, 5), generator=generator(2)))
    plain, both = (torch.empty(2, model.dim, dtype=torch.float64) for _ in range(2))
    model.update(params, x, targets, 0.1, out=plain)
    step = Step(weight_decay=0.5, max_norm=1e-3)
    step.update(model, params, x, targets, 0.1, out=both)
    trained = model.num_trained
    assert torch.equal(both[:, trained:], plain[:, trained:])
    decayed = -0.1 * 0.5 * params[:trained]
    torch.testing.assert_close(
        (both[:, :trained] - decayed).norm(dim=1), torch.full((2,), 1e-4).double(), rtol=1e-2, atol=0
    )
    stepped = params.expand(2, -1).clone()
    step.descend_(model, stepped, x, targets, 0.1)
    torch.testing.assert_close(stepped, params + both, rtol=0, atol=1e-12)


def test_a_variance_below_zero_counts_as_zero_in_a_test() -> None:
    model = normalised()
    params = model.initial(generator(0))
    variances = slice(model.num_trained + 6, model.num_trained + 12)
    zero, below = params.clone(), params.clone()
    zero[variances], below[variances] = 0.0, -3.0
    x = torch.randn(2, *SHAPE, generator=generator(1))
    assert torch.equal(model.logits(zero, x), model.logits(below, x))
    assert bool(model.logits(below, x).isfinite().all())


def test_dropout_beside_batch_norm_is_refused_too() -> None:
    class Own(ModuleModel):
        name = "own"

        def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
            return nn.Sequential(nn.BatchNorm2d(2), Functional(0.5))

    with pytest.raises(BadInputError, match="model 'own' cannot be played: it answers otherwise in training"):
        Own(SHAPE, CLASSES).initial(generator(0))


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (lambda: nn.BatchNorm2d(6, momentum=None), "its BatchNorm2d '1' averages over all batches that it has seen"),
        (
            lambda: nn.InstanceNorm2d(6, track_running_stats=True),
            "its InstanceNorm2d '1' keeps running_mean, running_var, num_batches_tracked beside",
        ),
        (lambda: nn.Dropout(0.3), "its Dropout '1' draws at random (set the rate of its dropout to 0)"),
        (lambda: nn.Dropout2d(), "its Dropout2d '1' draws at random"),
    ],
    ids=["BatchNorm2d", "InstanceNorm2d", "Dropout", "Dropout2d"],
)
def test_what_cannot_be_played_is_refused_in_one_line(layer: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(BadInputError) as caught:
        own_model(layer)(SHAPE, CLASSES)
    assert str(caught.value).startswith(f"model 'own' cannot be played: {reason}")
    assert "\n" not in str(caught.value)


def test_layers_that_drop_nothing_are_played() -> None:
    model = own_model(lambda: nn.Dropout(0.0), lambda: nn.BatchNorm2d(6, track_running_stats=False))(SHAPE, CLASSES)
    assert model.initial(generator(0)).shape == (model.dim,)


@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_dropout_that_no_layer_names_is_refused_too(rate: float) -> None:
    class Own(ModuleModel):
        name = "own"

        def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
            return Functional(rate)

    model = Own(SHAPE, CLASSES)
    if rate:
        with pytest.raises(BadInputError, match="model 'own' cannot be played: it answers otherwise in training"):
            model.initial(generator(0))
    else:
        assert model.initial(generator(0)).shape == (model.dim,)


@pytest.mark.parametrize(("typed", "meant"), [("softmx", "softmax"), ("LeNet", "lenet"), ("zzz", None)])
def test_an_unknown_model_names_the_nearest(typed: str, meant: str | None) -> None:
    with pytest.raises(BadInputError) as caught:
        models.build(typed, SHAPE, CLASSES)
    assert repr(typed) in str(caught.value)
    for name in [meant] if meant else registry.names("model"):
        assert name in str(caught.value)


def test_every_model_is_known_by_its_own_name() -> None:
    for name in registry.names("model"):
        model = models.build(name, (1, 28, 28), 10)
        assert (model.name, model.input_shape, model.num_classes) == (name, (1, 28, 28), 10)
