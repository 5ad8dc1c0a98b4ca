"""Models as functions of a flat parameter vector, so that m clients train as one `(m, d)` computation.

Every model maps parameters `(d,)` (shared by all clients) or `(m, d)` (a row a client) and inputs `(m, B, C, H, W)` to
logits and to the clients' gradients. Softmax regression, the MLP, both CNNs and LeNet have a forward and backward pass
written out by hand (several times faster than `vmap(grad)`, and differentiable once more, which gradient inversion
needs); every other model is a `torch.nn.Module` under `torch.func`.
"""

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from bench import registry
from bench.base.errors import BadInputError
from bench.models.base import Layer, Model, Shape, one_hot
from bench.models.convolutional import CNN, ConvolutionalModel, SmallCNN
from bench.models.dense import MLP, DenseModel, Softmax
from bench.models.lenet import LeNet
from bench.models.module import AlexNet, GroupNormCNN, ModuleModel

__all__ = [
    "CNN",
    "MLP",
    "AlexNet",
    "ConvolutionalModel",
    "DenseModel",
    "GroupNormCNN",
    "Layer",
    "LeNet",
    "Model",
    "ModuleModel",
    "Shape",
    "SmallCNN",
    "Softmax",
    "build",
    "one_hot",
]


def build(name: str, input_shape: Shape, num_classes: int) -> Model:
    """The model `name` for samples of a shape, (C, H, W) of images; `BadInputError` names the nearest where none is.

    One of somebody's own may be a function of shape and classes that returns a `torch.nn.Module`; `BadInputError` tells
    what it raises, and an answer that is not one number a class.
    """
    known = registry.get("model", name)
    if isinstance(known, type) and issubclass(known, Model):
        return known(input_shape, num_classes)
    where = f"model {name!r}, for samples of shape {tuple(input_shape)} and {num_classes} classes,"
    try:
        model = _of_module(name, known)(input_shape, num_classes)
        answered = _shape_of_two(model)
    except BadInputError:
        raise
    except Exception as error:
        text = " ".join(str(error).split())
        raise BadInputError(f"{where} cannot be built: {type(error).__name__}: {text}") from error
    if answered not in (None, (2, num_classes)):
        raise BadInputError(f"{where} answers two of them in shape {answered}, not (2, {num_classes})")
    return model


def _shape_of_two(model: ModuleModel) -> tuple[int, ...] | None:
    """The shape of its answer to two samples; None where that takes numbers, which there are none of yet."""
    try:
        with torch.device("meta"):
            return tuple(model.module(torch.empty((2, *model.input_shape))).shape)
    except NotImplementedError:
        return None


@functools.cache
def _of_module(name: str, make: Callable[[Shape, int], nn.Module]) -> type[ModuleModel]:
    """The class of a model that is a module which `make` returns."""

    class OwnModel(ModuleModel):
        def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
            made: Any = make(input_shape, num_classes)
            if not isinstance(made, nn.Module):
                raise BadInputError(f"model {name!r} is {type(made).__name__}, but must be a torch.nn.Module")
            return made

    OwnModel.name = name
    return OwnModel
