"""Models that are a `torch.nn.Module` under `torch.func`: torchvision's AlexNet, a small CNN with GroupNorm."""

import math
from abc import abstractmethod
from copy import deepcopy
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bench.base.errors import BadInputError
from bench.models.base import Model, Shape, uniform_initial

CURE = "set the rate of its dropout to 0"

MEAN, VARIANCE = "running_mean", "running_var"
"""What a layer of BatchNorm keeps, beside a count of batches that nothing here needs."""

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class ModuleModel(Model):
    """Any `torch.nn.Module` without dropout or buffers of its own, through `torch.func`: `vmap(grad)` over the clients.

    A client's model is its parameters and, behind them, the running means and variances of its BatchNorm layers, which
    a training step moves by the layer's momentum, and which are sent, clipped and averaged as parameters are. A test
    uses them; a variance that noise or an attack has made negative counts as 0 there. What else a module keeps, or
    draws while it trains, cannot be played: raises `BadInputError` for other buffers and for layers of dropout.
    """

    def __init__(self, input_shape: Shape, num_classes: int) -> None:
        super().__init__(input_shape, num_classes)
        with torch.device("meta"):
            self.module = self.build(input_shape, num_classes).eval()
        _refuse_what_cannot_be_played(self.name, self.module)
        statistics = _statistics(self.module)
        held = {**dict(self.module.named_parameters()), **statistics}
        self._keys = list(held)
        self.shapes = [tuple(tensor.shape) for tensor in held.values()]
        self.num_statistics = sum(tensor.numel() for tensor in statistics.values())
        self.training_module = self.module
        if statistics:
            self.training_module = deepcopy(self.module).train()
            for layer in self.training_module.modules():
                if isinstance(layer, BATCH_NORMS):
                    layer.num_batches_tracked = None  # nobody counts

    @property
    def keys(self) -> list[str]:
        """The names that the module gives its tensors."""
        return self._keys

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
            flat = nn.utils.parameters_to_vector([*module.parameters(), *_statistics(module).values()])
            images = torch.rand(2, *self.input_shape)
            trained = module.train()(images)
            if not torch.equal(trained, module(images) if self.num_statistics else module.eval()(images)):
                raise BadInputError(f"model {self.name!r} cannot be played: it answers otherwise in training ({CURE})")
        return flat.to(generator.device, dtype)

    def logits(self, params: Tensor, x: Tensor) -> Tensor:
        tensors = dict(zip(self.keys, self.split(params), strict=True))
        for key in tensors if self.num_statistics else ():
            if key.rpartition(".")[2] == VARIANCE:
                tensors[key] = tensors[key].clamp(min=0)
        return cast(Tensor, torch.func.functional_call(self.module, tensors, (x,)))

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        if self.num_statistics:
            return self._gradients_and_changes(params.expand(len(x), -1), x, targets)

        def loss(flat: Tensor, images: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(self.logits(flat, images), target)

        gradient = torch.func.vmap(torch.func.grad(loss), in_dims=(None if params.dim() == 1 else 0, 0, 0))
        return cast(Tensor, gradient(params, x, targets))

    def _gradients_and_changes(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        """`gradients` at models `(m, d)`, from a pass in training, which moves the running statistics."""

        def loss(trained: Tensor, statistics: Tensor, images: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
            tensors = dict(zip(self.keys, self.split(torch.cat([trained, statistics])), strict=True))
            moved = {key: tensors[key].detach().clone() for key in names}  # the layers write into these
            answers = torch.func.functional_call(self.training_module, tensors | moved, (images,))
            return F.cross_entropy(answers, target), statistics - torch.cat(list(moved.values()))

        names = list(_statistics(self.module))
        gradient = torch.func.vmap(torch.func.grad(loss, has_aux=True))
        trained, statistics = params.tensor_split([self.num_trained], dim=1)
        return torch.cat(gradient(trained, statistics, x, targets), dim=1)


def _statistics(module: nn.Module) -> dict[str, Tensor]:
    """The running means and variances of a module's layers of BatchNorm, by name."""
    return {key: kept for key, kept in module.named_buffers() if key.rpartition(".")[2] in (MEAN, VARIANCE)}


def _refuse_what_cannot_be_played(name: str, module: nn.Module) -> None:
    for path, layer in module.named_modules():
        kind = f"{type(layer).__name__} {path!r}"
        kept = [key for key, _ in layer.named_buffers(recurse=False)]
        if kept and isinstance(layer, BATCH_NORMS):
            if layer.momentum is not None:
                continue
            what = f"{kind} averages over all batches that it has seen (give it a momentum, such as 0.1)"
        elif kept:
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


class GroupNormCNN(ModuleModel):
    """A small CNN whose layers are normalised image by image, by groups of channels (Wu and He 2018): no BatchNorm.

    Three 3x3 convolutions of 16, 32 and 64 channels, each with GroupNorm, ReLU and 2x2 max pooling, and a dense layer
    of 64 ReLU units; d = 90,058 on CIFAR-10. Running statistics, which clients with unlike data cannot share, it has
    none of. Clients go one after the other: `vmap` would make grouped convolutions of theirs, which are slower.
    """

    name = "cnn_group_norm"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        channels, height, width = input_shape
        layers: list[nn.Module] = []
        for outputs, groups in ((16, 4), (32, 8), (64, 8)):
            layers += [nn.Conv2d(channels, outputs, 3, padding=1), nn.GroupNorm(groups, outputs)]
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            channels, height, width = outputs, height // 2, width // 2
        features = channels * height * width
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features, 64), nn.ReLU(), nn.Linear(64, num_classes))

    def gradients(self, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        def loss(flat: Tensor, images: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(self.logits(flat, images), target)

        gradient = torch.func.grad(loss)
        own = params.expand(len(x), -1) if params.dim() == 1 else params
        return torch.stack([gradient(*client) for client in zip(own, x, targets, strict=True)])
