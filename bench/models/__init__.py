"""Models as functions of a flat parameter vector, so that m clients train as one `(m, d)` computation.

Every model maps parameters `(d,)` (shared by all clients) or `(m, d)` (a row a client) and inputs `(m, B, C, H, W)` to
logits and to the clients' gradients. Softmax regression, the MLP, both CNNs and LeNet have a forward and backward pass
written out by hand (several times faster than `vmap(grad)`, and differentiable once more, which gradient inversion
needs); every other model is a `torch.nn.Module` under `torch.func`.
"""

from collections.abc import Callable

from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.models.base import Model, Shape, one_hot
from bench.models.convolutional import CNN, ConvolutionalModel, SmallCNN
from bench.models.dense import MLP, DenseModel, Softmax
from bench.models.lenet import LeNet
from bench.models.module import AlexNet, ModuleModel

__all__ = [
    "CNN",
    "MLP",
    "MODELS",
    "AlexNet",
    "ConvolutionalModel",
    "DenseModel",
    "LeNet",
    "Model",
    "ModuleModel",
    "Shape",
    "SmallCNN",
    "Softmax",
    "build",
    "one_hot",
]

MODELS: dict[str, Callable[[Shape, int], Model]] = {
    model.name: model for model in (Softmax, MLP, CNN, SmallCNN, LeNet, AlexNet)
}


def build(name: str, input_shape: Shape, num_classes: int) -> Model:
    """The model `name` for images `(C, H, W)`; `BadInputError` names the nearest where there is none."""
    if name not in MODELS:
        raise BadInputError(unknown("model", name, MODELS))
    return MODELS[name](input_shape, num_classes)
