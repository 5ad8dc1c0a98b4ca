"""The LeNet that gradient inversion is measured on, its backward pass written out by hand and differentiable."""

from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.base import Model, Shape, uniform_initial


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
