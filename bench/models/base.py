"""What a model is to the engine: a function of a flat parameter vector, and its clients' gradients."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import accumulate
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Shape = tuple[int, ...]


class Layer(NamedTuple):
    """A tensor of a model: its name, its shape, and where its entries lie in the flat parameters `(d,)`."""

    name: str
    shape: Shape
    entries: slice


class Model(ABC):
    """A classifier of images of `input_shape` (C, H, W) into `num_classes`, its parameters one flat vector `(d,)`."""

    name: ClassVar[str]

    block_bytes: ClassVar[int] = 32 * 2**20
    """What the models, updates and batches of clients that train together may take: a share of the last-level cache."""

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        self.input_shape = input_shape
        self.num_classes = num_classes
        self.shapes: list[Shape] = []
        self.num_statistics = 0  # the last entries of the parameters that no gradient moves: running statistics

    @property
    def dim(self) -> int:
        """d, the number of parameters."""
        return sum(math.prod(shape) for shape in self.shapes)

    @property
    def num_trained(self) -> int:
        """The first entries of the parameters, those that gradients move."""
        return self.dim - self.num_statistics

    @property
    def keys(self) -> list[str]:
        """The names of the tensors, one a shape: the number of the layer, and whether it is its weight or its bias."""
        numbers = accumulate(int(len(shape) > 1) for shape in self.shapes)
        kinds = ("weight" if len(shape) > 1 else "bias" for shape in self.shapes)
        return [f"{number}.{kind}" for number, kind in zip(numbers, kinds, strict=True)]

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Its tensors, in the order of the flat parameters; the last two are the last layer's weight and bias."""
        ends = list(accumulate(math.prod(shape) for shape in self.shapes))
        places = map(slice, [0, *ends], ends)
        return tuple(map(Layer, self.keys, self.shapes, places))

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

        params `(d,)` or `(m, d)`; x `(m, B, C, H, W)`; targets `(m, B, classes)`, probabilities (one-hot or soft). In
        place of gradients of running statistics stands what the batch takes off them, whatever the length of the step.
        """

    def update(self, params: Tensor, x: Tensor, targets: Tensor, lr: float, out: Tensor) -> None:
        """What one SGD step from the shared model `(d,)` adds to it: `out (m, d) = -lr * gradients`."""
        self.follow(self.gradients(params, x, targets), lr, out)

    def descend_(self, params: Tensor, x: Tensor, targets: Tensor, lr: float) -> None:
        """One SGD step of every client, in place: `params (m, d) -= lr * gradients`."""
        self.follow_(params, self.gradients(params, x, targets), lr)

    def follow(self, gradients: Tensor, lr: float, out: Tensor) -> None:
        """What a step against `gradients (m, d)` adds to a model, in `out (m, d)`."""
        torch.mul(gradients, -lr, out=out)
        if self.num_statistics:
            torch.neg(gradients[:, self.num_trained :], out=out[:, self.num_trained :])

    def follow_(self, params: Tensor, gradients: Tensor, lr: float) -> None:
        """A step against `gradients (m, d)`, in place, from `params (m, d)`."""
        trained = self.num_trained
        if self.num_statistics:
            params[:, trained:].sub_(gradients[:, trained:])
            params, gradients = params[:, :trained], gradients[:, :trained]
        params.sub_(gradients, alpha=lr)


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
