"""Dense models, their forward and backward pass written out by hand: softmax regression and the MLP."""

import math
from typing import ClassVar

import torch
from torch import Tensor

from bench.models.base import Model, Shape, uniform_initial


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
