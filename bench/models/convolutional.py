"""Convolutional networks, their backward pass written out by hand: the NISS paper's CNN and ByzFL's CNN for MNIST.

Clients that share a model share one forward and one backward pass over all their images, channels-last; only the
weights' gradients are taken client by client. Clients with models of their own go one after the other through the same
code: on MNIST's images faster than `vmap(grad)` too, whose grouped convolutions know the slower layout only. Every step
is an operation that autograd can follow, so `gradients` can be differentiated again.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.grad import conv2d_weight

from bench.base.device import on_gpu
from bench.base.errors import BadInputError
from bench.models.base import Model, Shape, uniform_initial

KERNEL = 5
"""Height and width of every convolution's kernel."""

CHUNK_BYTES = 16 * 2**20
"""What the largest layer of the images that are computed together may take, unless one client's batch takes more."""

GPU_CHUNK_BYTES = 128 * 2**20
"""The same on a GPU, where the patches of all those images lie side by side besides: up to some 6 times as much."""


@dataclass(frozen=True)
class Stage:
    """A convolution, 2x2 max pooling and ReLU, from images `(N, channels, H, W)`, channels-last, to such images.

    ReLU comes last: it does not change which pixel of a pool is the largest, and meets a quarter of them.
    """

    in_channels: int
    out_channels: int
    in_size: tuple[int, int]
    padding: int

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) between the convolution and the pooling."""
        height, width = (side + 2 * self.padding - KERNEL + 1 for side in self.in_size)
        return height, width

    @property
    def out_size(self) -> tuple[int, int]:
        return self.size[0] // 2, self.size[1] // 2

    @property
    def numel(self) -> int:
        """What the convolution gives for one image."""
        return self.out_channels * math.prod(self.size)

    @property
    def weight_shape(self) -> tuple[int, int, int, int]:
        return self.out_channels, self.in_channels, KERNEL, KERNEL

    def forward(self, images: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """(images after the stage, which pixel of each pool was the largest)."""
        convolved = F.conv2d(images, weight, bias, padding=self.padding)
        pooled, largest = F.max_pool2d(convolved, 2, return_indices=True)
        return pooled.relu(), largest

    def unpool(self, error: Tensor, largest: Tensor) -> Tensor:
        """Errors of the pooled images to those of the convolution's output."""
        # The stub of max_unpool2d is narrower than what it takes.
        return F.max_unpool2d(error, largest, 2, output_size=self.size)  # type: ignore[arg-type]

    def input_error(self, error: Tensor, weight: Tensor) -> Tensor:
        """Errors of the convolution's output to those of its input: the transpose of the convolution."""
        return F.conv_transpose2d(error, weight, padding=self.padding)

    def weight_gradients(self, error: Tensor, images: Tensor, batch: int, out: Tensor | None) -> Tensor:
        """`(m, out, in, kernel, kernel)`, from errors of the convolution's output and its input, `batch` a client."""
        if on_gpu(error):
            return self.weight_gradients_at_once(error, images, batch, out)
        pairs = zip(images.split(batch), error.split(batch), strict=True)
        results = [conv2d_weight(x, self.weight_shape, e, padding=self.padding) for x, e in pairs]
        return torch.stack(results, out=out)

    def weight_gradients_at_once(self, error: Tensor, images: Tensor, batch: int, out: Tensor | None) -> Tensor:
        """The same as one product over all clients' patches: a GPU would wait for a launch a client."""
        padded = F.pad(images, (self.padding,) * 4)
        windows = padded.unfold(2, KERNEL, 1).unfold(3, KERNEL, 1)  # (N, in, height, width, k, k), a view
        per_client = (batch * math.prod(self.size), math.prod(self.weight_shape[1:]))
        patches = windows.permute(0, 2, 3, 1, 4, 5).reshape(-1, *per_client)
        errors = error.unflatten(0, (-1, batch)).transpose(1, 2).flatten(2)  # (m, out, B pixels)
        shaped = (errors @ patches).unflatten(2, self.weight_shape[1:])
        return shaped if out is None else out.copy_(shaped)


class Pass(NamedTuple):
    """What a forward pass leaves for the backward pass."""

    images: list[Tensor]  # before and after every stage
    largest: list[Tensor]  # the pixel that every pool of a stage took
    features: Tensor  # (N, width), as is what follows
    hidden: Tensor
    logits: Tensor


class ConvolutionalModel(Model):
    """Stages of a 5x5 convolution, ReLU and 2x2 max pooling, then a dense layer with ReLU, and one without.

    Tensors in the order of torch.nn: (out, in, 5, 5) and (out,) a convolution, (out, in) and (out,) a dense layer.
    """

    block_bytes: ClassVar[int] = 256 * 2**20  # a pass over many images pays; `CHUNK_BYTES` bounds what it takes

    channels: ClassVar[tuple[int, ...]]
    padding: ClassVar[int]
    hidden: ClassVar[int]

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        self.stages: list[Stage] = []
        channels, size = input_shape[0], (input_shape[1], input_shape[2])
        for outputs in self.channels:
            self.stages.append(Stage(channels, outputs, size, self.padding))
            self.shapes += [self.stages[-1].weight_shape, (outputs,)]
            channels, size = outputs, self.stages[-1].out_size
        if min(size) < 1:
            shown = " x ".join(str(side) for side in input_shape[1:])
            raise BadInputError(
                f"the model {self.name!r} cannot take images of {shown}: its layers leave no pixel of them"
            )
        features = channels * size[0] * size[1]
        self.shapes += [(self.hidden, features), (self.hidden,), (num_classes, self.hidden), (num_classes,)]

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Torch's default for convolutions and dense layers: uniform within 1 / sqrt(fan in), biases too."""
        fans = [math.prod(shape[1:]) for shape in self.shapes[::2]]
        return uniform_initial(self.shapes, [fan**-0.5 for fan in fans for _ in range(2)], generator, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        tensors = self.split(params)
        return torch.cat([self._forward(tensors, part).logits for part in x.split(self._chunk(x))])

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        groups = self._groups(params, x, targets)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (params, x, targets)):
            nowhere = [None] * len(self.shapes)  # autograd does not follow what is written into a given tensor
            results = [self._gradients(own, images, wanted, 1.0, nowhere) for _, own, images, wanted in groups]
            return torch.cat([torch.cat([tensor.flatten(1) for tensor in tensors], dim=1) for tensors in results])
        return self._write(params, x, targets, 1.0, params.new_empty(len(x), self.dim))

    def update(self, params: Tensor, x: Tensor, targets: Tensor, lr: float, out: Tensor) -> None:
        self._write(params, x, targets, -lr, out)

    def _write(self, params: Tensor, x: Tensor, targets: Tensor, scale: float, out: Tensor) -> Tensor:
        """The gradients times `scale`, in `out (m, d)`."""
        for rows, own, images, wanted in self._groups(params, x, targets):
            self._gradients(own, images, wanted, scale, self.split(out[rows]))
        return out

    def _groups(self, params: Tensor, x: Tensor, targets: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
        """(rows, params `(d,)`, x, targets) of the clients that are computed together: they share a model."""
        shared = params.dim() == 1
        step = max(1, self._chunk(x) // x.shape[1]) if shared else 1
        for start in range(0, len(x), step):
            rows = slice(start, start + step)
            yield rows, params if shared else params[start], x[rows], targets[rows]

    def _chunk(self, x: Tensor) -> int:
        """The number of images whose largest layer takes `CHUNK_BYTES`."""
        room = GPU_CHUNK_BYTES if on_gpu(x) else CHUNK_BYTES
        return max(1, room // (x.element_size() * max(stage.numel for stage in self.stages)))

    def _forward(self, tensors: Sequence[Tensor], x: Tensor) -> Pass:
        """All of it for images `(N, C, H, W)` under one model."""
        images, largest = [channels_last(x)], []
        for stage, weight, bias in zip(self.stages, tensors[::2], tensors[1::2], strict=False):
            pooled, index = stage.forward(images[-1], weight, bias)
            images.append(pooled)
            largest.append(index)
        *_, hidden_weight, hidden_bias, weight, bias = tensors
        features = images[-1].flatten(1)
        hidden = F.linear(features, hidden_weight, hidden_bias).relu()
        return Pass(images, largest, features, hidden, F.linear(hidden, weight, bias))

    def _gradients(
        self, params: Tensor, x: Tensor, targets: Tensor, scale: float, out: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Every tensor's gradients times `scale`, a row a client, for clients that share the model `(d,)`; in `out`."""
        tensors, batch = self.split(params), x.shape[1]
        seen = self._forward(tensors, x.flatten(0, 1))
        error = (seen.logits.softmax(-1) - targets.flatten(0, 1)) * (scale / batch)
        results = dense_gradients(error, seen.hidden, batch, out[-2:])
        error = relu_error(error @ tensors[-2], seen.hidden)
        results = dense_gradients(error, seen.features, batch, out[-4:-2]) + results
        error = (error @ tensors[-4]).unflatten(1, seen.images[-1].shape[1:])
        for index in range(len(self.stages) - 1, -1, -1):
            stage, bias = self.stages[index], 2 * index + 1
            error = relu_error(error, seen.images[index + 1])
            spread = stage.unpool(error, seen.largest[index])
            results = [
                stage.weight_gradients(spread, seen.images[index], batch, out[bias - 1]),
                torch.sum(error.unflatten(0, (-1, batch)), dim=(1, 3, 4), out=out[bias]),
                *results,
            ]
            if index:
                error = stage.input_error(spread, tensors[2 * index])
        return results


def dense_gradients(error: Tensor, inputs: Tensor, batch: int, out: Sequence[Tensor | None]) -> list[Tensor]:
    """The gradients of weight `(m, out, in)` and bias `(m, out)` from errors and inputs `(m * batch, ...)`."""
    error, inputs = error.unflatten(0, (-1, batch)), inputs.unflatten(0, (-1, batch))
    return [torch.bmm(error.mT, inputs, out=out[0]), torch.sum(error, dim=1, out=out[1])]


def relu_error(error: Tensor, activation: Tensor) -> Tensor:
    """The error before a ReLU from the one after it."""
    return cast(Tensor, torch.ops.aten.threshold_backward(error, activation, 0))


def channels_last(images: Tensor) -> Tensor:
    """Images `(N, C, H, W)` with the channels of a pixel side by side, also by their strides where there is but one.

    By those strides torch chooses the layout of what follows; `contiguous` leaves them as they are for one channel.
    """
    count, channels, height, width = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(-1)
    return pixels.view(count, height, width, channels).permute(0, 3, 1, 2)


class CNN(ConvolutionalModel):
    """The NISS paper's CNN (section VI-A), with the channels of McMahan et al. 2017, which it follows.

    Two 5x5 convolutions of 32 and 64 channels, each with ReLU and 2x2 max pooling, and a dense layer of 512 ReLU units.
    """

    name = "cnn"
    channels = (32, 64)
    padding = 2
    hidden = 512


class SmallCNN(ConvolutionalModel):
    """ByzFL's CNN for MNIST (`cnn_mnist`): 20 and 50 channels, no padding, 500 units; d = 431,080 there."""

    name = "cnn_small"
    channels = (20, 50)
    padding = 0
    hidden = 500
