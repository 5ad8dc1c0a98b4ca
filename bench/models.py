"""Models as functions of a flat parameter vector, so that m clients train as one `(m, d)` computation.

Every model maps parameters `(d,)` (shared by all clients) or `(m, d)` (a row a client) and inputs `(m, B, C, H, W)` to
logits and to the clients' gradients. Softmax regression, the MLP and LeNet have a forward and backward pass written out
by hand (several times faster than `vmap(grad)`, and differentiable once more, which gradient inversion needs); every
other model is a `torch.nn.Module` under `torch.func`.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.errors import BadInputError
from bench.names import unknown

Shape = tuple[int, ...]


class Model(ABC):
    """A classifier of images of `input_shape` (C, H, W) into `num_classes`, its parameters one flat vector `(d,)`."""

    name: ClassVar[str]

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.shapes: list[Shape] = []

    @property
    def dim(self) -> int:
        """d, the number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    def class_errors(self, gradients: Tensor) -> Tensor:
        """`(T, classes)` proportional to p - y, from one sample's gradients `(T, d)` each: negative at the label alone.

        The last layer's bias has the gradient p - y; its weights have (p - y) times features that a hidden layer leaves
        non-negative (ReLU, sigmoid), so their sum over the features says the same, with more votes.
        """
        *_, weight, bias = self.split(gradients)
        return bias if len(self.shapes) == 2 else weight.sum(dim=-1) + bias

    def split(self, params: Tensor) -> list[Tensor]:
        """Views of the flat parameters `(..., d)`, one a layer tensor: `(..., *shape)`."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = params.split(sizes, dim=-1)
        return [part.unflatten(-1, shape) for part, shape in zip(parts, self.shapes, strict=True)]

    @abstractmethod
    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Initial parameters `(d,)`."""

    @abstractmethod
    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        """Logits `(B, classes)` of images `(B, C, H, W)` under one model `(d,)`."""

    @abstractmethod
    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        """Gradients `(m, d)` of each client's mean cross-entropy.

        params `(d,)` or `(m, d)`; x `(m, B, C, H, W)`; targets `(m, B, classes)`, probabilities (one-hot or soft).
        """

    def descend_(self, params: Tensor, x: Tensor, targets: Tensor, lr: float) -> None:
        """One SGD step of every client, in place: `params (m, d) -= lr * gradients`."""
        params.sub_(self.gradients(params, x, targets), alpha=lr)


def one_hot(labels: Tensor, num_classes: int, dtype: torch.dtype) -> Tensor:
    """Targets `(..., classes)` from labels `(...)`."""
    return F.one_hot(labels, num_classes).to(dtype)


def uniform_initial(
    shapes: Sequence[Shape], bounds: Sequence[float], generator: torch.Generator, dtype: torch.dtype
) -> Tensor:
    """One flat vector, each tensor uniform in [-bound, bound]."""
    parts = [
        (2 * torch.rand(math.prod(shape), generator=generator, device=generator.device, dtype=dtype) - 1) * bound
        for shape, bound in zip(shapes, bounds, strict=True)
    ]
    return torch.cat(parts)


class DenseModel(Model):
    """Dense layers with ReLU between them; tensors in the order W1 (out, in), b1 (out), W2, b2, ... as in torch."""

    hidden: ClassVar[tuple[int, ...]] = ()

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.widths = (math.prod(input_shape), *self.hidden, num_classes)
        for inputs, outputs in zip(self.widths, self.widths[1:], strict=False):
            self.shapes += [(outputs, inputs), (outputs,)]

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """torch.nn.Linear's default: uniform within 1 / sqrt(fan in)."""
        bounds = [bound for width in self.widths[:-1] for bound in (width**-0.5, width**-0.5)]
        return uniform_initial(self.shapes, bounds, generator, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        return self._forward(self.split(params), x.flatten(1))[-1]

    def _forward(self, tensors: list[Tensor], x: Tensor) -> list[Tensor]:
        """The input of every layer and, last, the logits: `([m,] B, width)` each."""
        activations = [x]
        for layer in range(0, len(tensors), 2):
            weight, bias = tensors[layer], tensors[layer + 1]
            z = (weight @ activations[-1].mT).mT + bias.unsqueeze(-2)  # this order streams both through the cache
            activations.append(z.relu() if layer + 2 < len(tensors) else z)
        return activations

    def _backward(self, tensors: list[Tensor], x: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(input `(m, B, in)`, error `(m, B, out)`) of every layer; a layer's gradient is their product."""
        activations = self._forward(tensors, x.flatten(2))
        error = (activations[-1].softmax(-1) - targets) / x.shape[1]
        pairs: list[tuple[Tensor, Tensor]] = []
        for layer in range(len(tensors) - 2, -1, -2):
            inputs = activations[layer // 2]
            pairs.append((inputs, error))
            if layer:
                error = (error @ tensors[layer]) * (inputs > 0)
        return pairs[::-1]

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        parts = []
        for inputs, error in self._backward(self.split(params), x, targets):
            parts += [(error.mT @ inputs).flatten(1), error.sum(1)]
        return torch.cat(parts, dim=1)

    def descend_(self, params: Tensor, x: Tensor, targets: Tensor, lr: float) -> None:
        tensors = self.split(params)
        for index, (inputs, error) in enumerate(self._backward(tensors, x, targets)):
            tensors[2 * index].baddbmm_(error.mT, inputs, alpha=-lr)
            tensors[2 * index + 1].sub_(error.sum(1), alpha=lr)


class Softmax(DenseModel):
    """Softmax regression, the model of the DPBFL paper (section 5.2); starts at zero. d = 7,850 on MNIST."""

    name = "softmax"

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Zeros, which the convex problem allows; the generator is not used."""
        return torch.zeros(self.dim, dtype=dtype, device=generator.device)


class MLP(DenseModel):
    """Two hidden layers of 200 ReLU units, the MLP of the NISS paper (section VI-A). d = 199,210 on MNIST."""

    name = "mlp"
    hidden = (200, 200)


@dataclass(frozen=True)
class Convolution:
    """A convolution as a matrix product over patches: kernel, stride and padding are those of `F.unfold`."""

    in_channels: int
    out_channels: int
    kernel: int
    stride: int
    padding: int
    in_size: tuple[int, int]

    @property
    def out_size(self) -> tuple[int, int]:
        height, width = ((size + 2 * self.padding - self.kernel) // self.stride + 1 for size in self.in_size)
        return height, width

    def patches(self, x: Tensor) -> Tensor:
        """Images `(m, B, channels, positions)` to patches `(m, B, channels * kernel^2, positions)`."""
        images = x.flatten(0, 1).unflatten(-1, self.in_size)
        unfolded = F.unfold(images, self.kernel, padding=self.padding, stride=self.stride)
        return cast(Tensor, unfolded.unflatten(0, x.shape[:2]))

    def fold(self, patches: Tensor) -> Tensor:
        """The transpose of `patches`: sums every patch entry back to its pixel."""
        images = F.fold(patches.flatten(0, 1), self.in_size, self.kernel, padding=self.padding, stride=self.stride)
        return cast(Tensor, images.flatten(-2).unflatten(0, patches.shape[:2]))


class LeNet(Model):
    """The sigmoid LeNet of DLG (Zhu et al. 2019): three 5x5 convolutions of 12 channels, and one dense layer.

    Strides are 2, 2 and 1. Weights start uniform in [-0.5, 0.5], as in the authors' code; d = 85,036 at 32 x 32 x 3 and
    100 classes.
    """

    name = "lenet"
    channels: ClassVar[int] = 12

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        channels, size = input_shape[0], (input_shape[1], input_shape[2])
        self.convolutions: list[Convolution] = []
        for stride in (2, 2, 1):
            layer = Convolution(channels, self.channels, kernel=5, stride=stride, padding=2, in_size=size)
            self.convolutions.append(layer)
            self.shapes += [(self.channels, channels * 25), (self.channels,)]
            channels, size = self.channels, layer.out_size
        self.shapes += [(num_classes, channels * size[0] * size[1]), (num_classes,)]

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        return uniform_initial(self.shapes, [0.5] * len(self.shapes), generator, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        return self._forward(self.split(params), x.unsqueeze(0))[2][0]

    def _forward(self, tensors: list[Tensor], x: Tensor) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """(patches, sigmoid outputs `(m, B, channels, positions)`) of every convolution; logits `(m, B, classes)`."""
        patches, outputs, current = [], [], x.flatten(3)
        for index, layer in enumerate(self.convolutions):
            weight, bias = tensors[2 * index], tensors[2 * index + 1]
            patches.append(layer.patches(current))
            current = (_per_image(weight) @ patches[-1] + _per_image(bias.unsqueeze(-1))).sigmoid()
            outputs.append(current)
        logits = current.flatten(2) @ tensors[-2].mT + tensors[-1].unsqueeze(-2)
        return patches, outputs, logits

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        tensors = self.split(params)
        patches, outputs, logits = self._forward(tensors, x)
        error = (logits.softmax(-1) - targets) / x.shape[1]
        parts = [error.sum(1), (error.mT @ outputs[-1].flatten(2)).flatten(1)]
        error = (error @ tensors[-2]).unflatten(-1, outputs[-1].shape[2:])
        for index in range(len(self.convolutions) - 1, -1, -1):
            error = error * outputs[index] * (1 - outputs[index])
            parts += [error.sum((1, 3)), (error @ patches[index].mT).sum(1).flatten(1)]
            if index:
                error = self.convolutions[index].fold(_per_image(tensors[2 * index]).mT @ error)
        return torch.cat(parts[::-1], dim=1)


def _per_image(tensor: Tensor) -> Tensor:
    """A layer tensor `(rows, columns)` as it is, or `(m, rows, columns)` with an axis for the client's images."""
    return tensor if tensor.dim() == 2 else tensor.unsqueeze(1)


class ModuleModel(Model):
    """Any `torch.nn.Module` without buffers or dropout, through `torch.func`: `vmap(grad)` over the clients."""

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        with torch.device("meta"):
            self.module = self.build(input_shape, num_classes).eval()
        self.keys = [key for key, _ in self.module.named_parameters()]
        self.shapes = [tuple(parameter.shape) for parameter in self.module.parameters()]

    @abstractmethod
    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        """The module, its last parameter the bias of the last layer."""

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Torch's default for convolutions and dense layers: uniform within 1 / sqrt(fan in), biases too."""
        fans = [math.prod(shape[1:]) for shape in self.shapes]
        bounds = [(fans[max(0, i - 1)] if len(shape) == 1 else fans[i]) ** -0.5 for i, shape in enumerate(self.shapes)]
        return uniform_initial(self.shapes, bounds, generator, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        tensors = dict(zip(self.keys, self.split(params), strict=True))
        return cast(Tensor, torch.func.functional_call(self.module, tensors, (x,)))

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        def loss(flat: Tensor, images: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(self.logits(flat, images), target)

        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None if params.dim() == 1 else 0, 0, 0))
        return cast(Tensor, gradient(params, x, targets))


class CNN(ModuleModel):
    """The NISS paper's CNN (section VI-A), with the channels of McMahan et al. 2017, which it follows.

    Two 5x5 convolutions of 32 and 64 channels, each with ReLU and 2x2 max pooling, and a dense layer of 512 ReLU units.
    """

    name = "cnn"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        channels, height, width = input_shape
        return nn.Sequential(
            nn.Conv2d(channels, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(64 * (height // 4) * (width // 4), 512), nn.ReLU(), nn.Linear(512, num_classes),
        )  # fmt: skip


class AlexNet(ModuleModel):
    """torchvision's AlexNet (DPBFL paper, figure 11), images resized to 64 x 64, its dropout off.

    64 is the smallest power of two that leaves its last pooling a pixel; dropout would draw from torch's global state.
    """

    name = "alexnet"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        from torchvision.models import alexnet

        channels = [nn.Conv2d(input_shape[0], 3, 1)] if input_shape[0] != 3 else []
        return nn.Sequential(nn.Upsample(size=(64, 64), mode="nearest"), *channels, alexnet(num_classes=num_classes))


MODELS: dict[str, Callable[[Shape, int], Model]] = {model.name: model for model in (Softmax, MLP, CNN, LeNet, AlexNet)}


def build(name: str, input_shape: Shape, num_classes: int) -> Model:
    """The model `name` for images `(C, H, W)`; `BadInputError` names the nearest where there is none."""
    if name not in MODELS:
        raise BadInputError(unknown("model", name, MODELS))
    return MODELS[name](input_shape, num_classes)
