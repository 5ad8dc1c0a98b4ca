"""Models that are a `torch.nn.Module` under `torch.func`: torchvision's AlexNet."""

import math
from abc import abstractmethod
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.base.errors import BadInputError
from bench.models.base import Model, Shape, uniform_initial

CURE = "set the rate of its dropout to 0"


class ModuleModel(Model):
    """Any `torch.nn.Module` without buffers or dropout, through `torch.func`: `vmap(grad)` over the clients.

    A client's model is its parameters alone, so what else a module keeps, or draws while it trains, cannot be played.
    Raises `BadInputError` for a module with buffers (running statistics of BatchNorm) or with layers of dropout.
    """

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        with torch.device("meta"):
            self.module = self.build(input_shape, num_classes).eval()
        _refuse_what_cannot_be_played(self.name, self.module)
        self.keys = [key for key, _ in self.module.named_parameters()]
        self.shapes = [tuple(parameter.shape) for parameter in self.module.parameters()]

    @abstractmethod
    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        """The module, its last parameter the bias of the last layer."""

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """What the module's own layers start with, drawn from a seed that the generator gives.

        Raises `BadInputError` for a module that answers otherwise while it trains (dropout by `F.dropout`).
        """
        seed = int(torch.randint(2**62, (), generator=generator, device=generator.device))
        with torch.random.fork_rng(devices=()), torch.device("cpu"), torch.no_grad():
            torch.default_generator.manual_seed(seed)
            module = self.build(self.input_shape, self.num_classes)
            images = torch.rand(2, *self.input_shape)
            trained, tested = module.train()(images), module.eval()(images)
            if not torch.equal(trained, tested):
                raise BadInputError(f"model {self.name!r} cannot be played: it answers otherwise in training ({CURE})")
            flat = nn.utils.parameters_to_vector(module.parameters())
        return flat.to(generator.device, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        tensors = dict(zip(self.keys, self.split(params), strict=True))
        return cast(Tensor, torch.func.functional_call(self.module, tensors, (x,)))

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        def loss(flat: Tensor, images: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(self.logits(flat, images), target)

        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None if params.dim() == 1 else 0, 0, 0))
        return cast(Tensor, gradient(params, x, targets))


def _refuse_what_cannot_be_played(name: str, module: nn.Module) -> None:
    for path, layer in module.named_modules():
        kind = f"{type(layer).__name__} {path!r}"
        if kept := [key for key, _ in layer.named_buffers(recurse=False)]:
            what = f"{kind} keeps {', '.join(kept)} beside its parameters (GroupNorm keeps nothing)"
        elif isinstance(layer, nn.modules.dropout._DropoutNd) and layer.p > 0:
            what = f"{kind} draws at random ({CURE})"
        else:
            continue
        raise BadInputError(f"model {name!r} cannot be played: its {what}")


class AlexNet(ModuleModel):
    """torchvision's AlexNet (DPBFL paper, figure 11), images resized to 64 x 64, without dropout.

    64 is the smallest power of two that leaves its last pooling a pixel.
    """

    name = "alexnet"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        from torchvision.models import alexnet

        channels = [nn.Conv2d(input_shape[0], 3, 1)] if input_shape[0] != 3 else []
        return nn.Sequential(
            nn.Upsample(size=(64, 64), mode="nearest"), *channels, alexnet(num_classes=num_classes, dropout=0.0)
        )

    def initial(self, generator: torch.Generator, dtype: torch.dtype = torch.float32) -> Tensor:
        """Torch's default for convolutions and dense layers: uniform within 1 / sqrt(fan in), biases too."""
        fans = [math.prod(shape[1:]) for shape in self.shapes]
        bounds = [(fans[max(0, i - 1)] if len(shape) == 1 else fans[i]) ** -0.5 for i, shape in enumerate(self.shapes)]
        return uniform_initial(self.shapes, bounds, generator, dtype)
