"""The LeNet that gradient inversion is measured on, its backward pass written out by hand and differentiable.

`gradients` is the plain pass. `pullback` and `distance` are for inversion: its second derivatives by hand as well,
every step a matrix product over the windows of all images, a client's images one after the other in one axis.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.models.base import Model, Shape, uniform_initial

Derivatives = tuple[Tensor, Tensor]
"""By images `(k, B, C, H, W)` and by targets `(k, B, classes)`."""


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

    def windows(self, x: Tensor) -> Tensor:
        """`patches` with channels last: `(k, H, W, channels)` to `(k, positions, kernel^2 * channels)`."""
        padded = F.pad(x, (0, 0, self.padding, self.padding, self.padding, self.padding))
        image, row, column, channel = padded.stride()
        size = (len(x), *self.out_size, self.kernel, self.kernel, self.in_channels)
        views = padded.as_strided(size, (image, self.stride * row, self.stride * column, row, column, channel))
        return views.reshape(len(x), math.prod(self.out_size), -1)

    def spread(self, errors: Tensor, kernels: Tensor) -> Tensor:
        """The transpose of `windows`, of errors `(k, B * positions, out)` @ kernels: `(k, B * H * W, channels)`.

        The kernels `([k,] out, channels * 25)` are as the parameters have them.
        """
        positions = math.prod(self.out_size)
        by_image = errors.unflatten(1, (-1, positions))
        patches = _per_image(kernels).mT @ by_image.mT
        # All images as the channels of one, which `fold` goes through faster than through as many images.
        stack = patches.reshape(1, -1, positions)
        images = F.fold(stack, self.in_size, self.kernel, padding=self.padding, stride=self.stride)
        pixels = images.view(len(errors), by_image.shape[1], self.in_channels, -1).mT.contiguous()
        return pixels.reshape(len(errors), -1, self.in_channels)


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

    def pullback(self, params: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Callable[[Tensor], Derivatives]]]:
        """`gradients`, and what takes a derivative by them back to images and targets.

        The result is a function of x `(k, B, C, H, W)` and targets `(k, B, classes)`; with v `(k, d)`, the second thing
        that it returns maps v to the derivatives of (v * gradients).sum() by x and by targets.
        """
        tensors = _Tensors.of(self, params)

        def forth(x: Tensor, targets: Tensor) -> tuple[Tensor, Callable[[Tensor], Derivatives]]:
            done = _Pass(self, tensors, x, targets)

            def back(cotangent: Tensor) -> Derivatives:
                v = _Tensors.of(self, cotangent)
                by_head = done.features @ v.head.mT + v.head_bias.unsqueeze(1), done.error @ v.head
                return done.back(v.kernels, v.plain, v.biases, *by_head)

            return done.gradients(), back

        return forth

    def distance(self, params: Tensor, wanted: Tensor) -> Callable[[Tensor, Tensor], tuple[Tensor, Derivatives]]:
        """The squared distance `(k,)` of `gradients` from `wanted (k, d)`; and its derivatives.

        The dense layer's gradient is E^T A, with errors E `(B, classes)` and features A; of one image, e a^T. Its part,
        sum(E E^T * A A^T) - 2 sum(E * A W^T) + |W|^2, does not need this product.
        """
        tensors, goal = _Tensors.of(self, params), _Tensors.of(self, wanted)
        constant = goal.head.square().sum((1, 2))

        def evaluate(x: Tensor, targets: Tensor) -> tuple[Tensor, Derivatives]:
            done = _Pass(self, tensors, x, targets)
            kernels = [result - want for result, want in zip(done.by_kernels(), goal.kernels, strict=True)]
            biases = [error.sum(1) - want for error, want in zip(done.errors, goal.biases, strict=True)]
            error, features, bias = done.error, done.features, done.error.sum(1) - goal.head_bias
            product = features @ goal.head.mT
            sizes, lengths = _gram(error), _gram(features)
            head = (sizes * lengths).sum((1, 2)) - 2 * (error * product).sum((1, 2)) + constant
            parts = [part.square().flatten(1).sum(1) for part in (*kernels, *biases, bias)]
            doubled = [2 * kernel for kernel in kernels]
            derivatives = done.back(
                doubled,
                [_channels_first(kernel) for kernel in doubled],
                [2 * bias for bias in biases],
                2 * (lengths @ error - product + bias.unsqueeze(1)),
                2 * (sizes @ features - error @ goal.head),
            )
            return head.clamp(min=0) + torch.stack(parts).sum(0), derivatives

        return evaluate


@dataclass(frozen=True)
class _Tensors:
    """A parameter vector `([k,] d)` by layer, kernels with channels last, `([k,] out, 25 * channels)`, and plain."""

    kernels: list[Tensor]
    plain: list[Tensor]  # ([k,] out, channels * 25)
    biases: list[Tensor]
    head: Tensor  # ([k,] classes, features)
    head_bias: Tensor

    @classmethod
    def of(cls, model: LeNet, params: Tensor) -> "_Tensors":
        *convolutions, head, head_bias = model.split(params)
        kernels = [_channels_last(kernel) for kernel in convolutions[::2]]
        return cls(kernels, convolutions[::2], convolutions[1::2], head, head_bias)


class _Pass:
    """LeNet's forward and backward pass over B images a client, and the way back through both of them.

    Every list has an entry a convolution. With z = windows @ kernel^T + bias and a = sigmoid(z): `incoming` is the
    derivative of the mean cross-entropy by a, `errors` by z, both `(k, B * positions, 12)`.
    """

    def __init__(self, model: LeNet, tensors: _Tensors, x: Tensor, targets: Tensor) -> None:
        self.layers, self.channels, self.tensors, self.batch = model.convolutions, model.channels, tensors, x.shape[1]
        self.windows: list[Tensor] = []
        self.outputs: list[Tensor] = []
        pixels = x.flatten(3).mT.flatten(1, 2)
        for layer, kernel, bias in zip(self.layers, tensors.kernels, tensors.biases, strict=True):
            self.windows.append(self._windows(layer, pixels))
            pixels = _apply(self.windows[-1], kernel, bias).sigmoid_()
            self.outputs.append(pixels)
        self.features = self._features(pixels)
        self.probabilities = (self.features @ tensors.head.mT + tensors.head_bias.unsqueeze(-2)).softmax(-1)
        self.error = (self.probabilities - targets) / self.batch

        self.slopes = [output * (1 - output) for output in self.outputs]
        self.incoming = [self._positions_first(self.error @ tensors.head)]
        self.errors = [self.incoming[0] * self.slopes[-1]]
        for index in range(len(self.layers) - 1, 0, -1):
            self.incoming.insert(0, self.layers[index].spread(self.errors[0], tensors.plain[index]))
            self.errors.insert(0, self.incoming[0] * self.slopes[index - 1])

    def by_kernels(self) -> list[Tensor]:
        """The gradients of the kernels, channels last."""
        return [error.mT @ windows for error, windows in zip(self.errors, self.windows, strict=True)]

    def gradients(self) -> Tensor:
        """All of them `(k, d)`, in the order of the parameters."""
        parts = []
        for by_kernel, error in zip(self.by_kernels(), self.errors, strict=True):
            parts += [_channels_first(by_kernel).flatten(1), error.sum(1)]
        parts += [(self.error.mT @ self.features).flatten(1), self.error.sum(1)]
        return torch.cat(parts, dim=1)

    def back(
        self, kernels: list[Tensor], plain: list[Tensor], biases: list[Tensor], by_error: Tensor, by_features: Tensor
    ) -> Derivatives:
        """From derivatives by the convolutions' gradients, and by the dense layer's error and input, to the inputs.

        Those by kernels are there twice: with channels last, and plain as the parameters are.
        """
        by_outputs: list[Tensor] = []
        upward = None
        for index, layer in enumerate(self.layers):
            by_errors = _apply(self.windows[index], kernels[index], biases[index])
            if upward is not None:
                by_errors += self._windows(layer, upward) @ self.tensors.kernels[index].mT
            by_outputs.append(by_errors * self.incoming[index] * (1 - 2 * self.outputs[index]))
            upward = by_errors * self.slopes[index]
        assert upward is not None
        head, p = self.tensors.head, self.probabilities
        by_probabilities = (by_error + self._features(upward) @ head.mT) / self.batch
        by_logits = p * (by_probabilities - (p * by_probabilities).sum(-1, keepdim=True))
        downward = self._positions_first(by_features + by_logits @ head)
        for index in range(len(self.layers) - 1, -1, -1):
            inputs = (downward + by_outputs[index]) * self.slopes[index]
            own = self.tensors.plain[index].expand_as(plain[index])
            both = torch.cat([self.errors[index], inputs], dim=2), torch.cat([plain[index], own], dim=1)
            downward = self.layers[index].spread(*both)
        first = self.layers[0]
        images = downward.unflatten(1, (self.batch, -1)).mT.unflatten(-1, first.in_size)
        return images, -by_probabilities

    def _windows(self, layer: Convolution, pixels: Tensor) -> Tensor:
        """Of pixels `(k, B * H * W, channels)`: `(k, B * positions, 25 * channels)`."""
        images = pixels.reshape(-1, *layer.in_size, layer.in_channels)
        return layer.windows(images).reshape(len(pixels), -1, 25 * layer.in_channels)

    def _features(self, outputs: Tensor) -> Tensor:
        """Outputs `(k, B * positions, 12)` of the last convolution as `(k, B, 12 * positions)`."""
        return cast(Tensor, outputs.unflatten(1, (self.batch, -1)).mT.flatten(2))

    def _positions_first(self, features: Tensor) -> Tensor:
        """The inverse of `_features`."""
        return cast(Tensor, features.unflatten(2, (self.channels, -1)).mT.flatten(1, 2))


def _gram(rows: Tensor) -> Tensor:
    """The inner products `(k, B, B)` of rows `(k, B, n)`."""
    # Of one row without a matrix product, which would round otherwise than the published records.
    return rows.square().sum(-1, keepdim=True) if rows.shape[1] == 1 else rows @ rows.mT


def _channels_last(kernels: Tensor) -> Tensor:
    """Kernels `(..., channels * 25)`, as the parameters have them, to `(..., 25 * channels)`, as windows have them."""
    return cast(Tensor, kernels.unflatten(-1, (-1, 25)).mT.flatten(-2))


def _channels_first(kernels: Tensor) -> Tensor:
    """The inverse of `_channels_last`."""
    return cast(Tensor, kernels.unflatten(-1, (25, -1)).mT.flatten(-2))


def _apply(inputs: Tensor, kernels: Tensor, bias: Tensor) -> Tensor:
    """A layer: inputs `(k, positions, in)`, kernels `([k,] out, in)`, bias `([k,] out)` to `(k, positions, out)`."""
    if kernels.dim() == 2:
        return F.linear(inputs, kernels, bias)
    return torch.baddbmm(bias.unsqueeze(1), inputs, kernels.mT)


def _per_image(tensor: Tensor) -> Tensor:
    """A layer tensor `(rows, columns)` as it is, or `(m, rows, columns)` with an axis for the client's images."""
    return tensor if tensor.dim() == 2 else tensor.unsqueeze(1)
