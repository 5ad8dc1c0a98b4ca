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
        return self._forward(self.split(params), x.flatten(1).mT)[-1].mT

    def _forward(self, tensors: list[Tensor], x: Tensor) -> list[Tensor]:
        """The input of every layer and, last, the logits, a column a sample: `([m,] width, B)` each."""
        activations = [x]
        for layer in range(0, len(tensors), 2):
            z = tensors[layer] @ activations[-1] + tensors[layer + 1].unsqueeze(-1)
            activations.append(z.relu() if layer + 2 < len(tensors) else z)
        return activations

    def _backward(self, tensors: list[Tensor], x: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """(error `(m, out, B)`, input `(m, in, B)`) of every layer; a layer's gradient is their product."""
        activations = self._forward(tensors, x.flatten(2).mT)
        error = (activations[-1].softmax(-2) - targets.mT) / x.shape[1]
        pairs: list[tuple[Tensor, Tensor]] = []
        for layer in range(len(tensors) - 2, -1, -2):
            inputs = activations[layer // 2]
            pairs.append((error, inputs))
            if layer:
                error = (tensors[layer].mT @ error) * (inputs > 0)
        return pairs[::-1]

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        parts = []
        for error, inputs in self._backward(self.split(params), x, targets):
            parts += [(error @ inputs.mT).flatten(1), error.sum(-1)]
        return torch.cat(parts, dim=1)

    # A product straight into the rows of a larger matrix would run client by client: so it is made, then added.

    def update(self, params: Tensor, x: Tensor, targets: Tensor, lr: float, out: Tensor) -> None:
        parts = self.split(out)
        for layer, (error, inputs) in enumerate(self._backward(self.split(params), x, targets)):
            torch.mul(error @ inputs.mT, -lr, out=parts[2 * layer])
            torch.mul(error.sum(-1), -lr, out=parts[2 * layer + 1])

    def descend_(self, params: Tensor, x: Tensor, targets: Tensor, lr: float) -> None:
        tensors = self.split(params)
        for layer, (error, inputs) in enumerate(self._backward(tensors, x, targets)):
            tensors[2 * layer].sub_(error @ inputs.mT, alpha=lr)
            tensors[2 * layer + 1].sub_(error.sum(-1), alpha=lr)


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
