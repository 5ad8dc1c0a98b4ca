"""Models that are a `torch.nn.Module` under `torch.func`: torchvision's AlexNet."""

import math
from abc import abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.models.base import Model, Shape, uniform_initial


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


class AlexNet(ModuleModel):
    """torchvision's AlexNet (DPBFL paper, figure 11), images resized to 64 x 64, its dropout off.

    64 is the smallest power of two that leaves its last pooling a pixel; dropout would draw from torch's global state.
    """

    name = "alexnet"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        from torchvision.models import alexnet

        channels = [nn.Conv2d(input_shape[0], 3, 1)] if input_shape[0] != 3 else []
        return nn.Sequential(nn.Upsample(size=(64, 64), mode="nearest"), *channels, alexnet(num_classes=num_classes))
