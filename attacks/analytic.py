"""Analytic (Phong et al. 2018; Geiping et al. 2020): the gradient of a linear layer is its input, scaled.

With errors e at the outputs of a first layer W x + b its gradients are dW = sum of e x^T and db = sum of e over the
batch. A row of dW is db_i times an average of the images, weighted by their errors: of one sample, its image exactly.
Of a batch, a ReLU row that one image alone activates shows that image (Boenisch et al. 2023); rows that agree are such
rows. In softmax regression a row is a class: rows without an image show the batch's average, and what a class's own row
has less than that is the average of its images. B images span B dimensions, so what the gradient has outside of its B
largest ones is noise and left out; the rest is averaged over the rows, each weighted by its error. Signs tell the sign
of a pixel and no more: whether it is above or below the mean pixel.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.inversion import Observation, inferred_labels, observations
from bench.attacking.linear_layers import (
    TINY,
    Layer,
    class_means,
    combined,
    common_signs,
    gradient_signs,
    repeated_rows,
    unexplained,
    without_noise,
)
from bench.base.errors import require
from bench.models.base import Model, one_hot
from bench.models.dense import DenseModel
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View


@register("attack", "analytic")
class Analytic(PrivacyAttack):
    """The passive server, against models whose first layer is linear."""

    same: float = Field(default=0.01, gt=0)  # how far apart rows of one image may be, as a share of its length

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """Raises `ValueError` for a model that does not begin with a linear layer."""
        model, estimates = view.facts.model, [seen.estimate for seen in view.rounds]
        wanted = "one whose first layer is linear with a bias: softmax or mlp"
        require(isinstance(model, DenseModel), "model", model.name, wanted)
        seen = observations(view, estimates)
        labels = inferred_labels(view, seen[-1])
        layer = first_layers(model, seen)
        if seen[-1].sign:
            signs, loss = common_signs(layer, view.facts.random_share)
            inputs = halfway(signs, view).unsqueeze(1).expand(-1, labels.shape[1], -1)
        else:
            inputs = self.batch(without_noise(layer, labels.shape[1]), view, labels)
            loss = unexplained(layer, inputs)
        images = inputs.unflatten(2, view.image_shape).to(view.mean_image.dtype)
        return Reconstruction(images, labels, loss, [float(loss.median())], estimates[-1])

    def batch(self, layer: Layer, view: View, labels: Tensor) -> Tensor:
        """Inputs `(T, B, in)` with these `labels (T, B)`."""
        size, is_softmax = labels.shape[1], len(view.facts.model.shapes) == 2
        if size == 1:
            return combined(layer).unsqueeze(1)
        return of_classes(layer, view, labels) if is_softmax else repeated_rows(layer, size, self.same, *ends(view))


def first_layers(model: Model, seen: list[Observation]) -> Layer:
    """What the observations tell of the first layer's gradient, all rounds' rows below one another."""
    gradients = [gradient_signs(each) if each.sign else each.target for each in seen]
    parts = [model.split(gradient.double())[:2] for gradient in gradients]
    return Layer(*(torch.cat(tensors, dim=1) for tensors in zip(*parts, strict=True)))


def of_classes(layer: Layer, view: View, labels: Tensor) -> Tensor:
    """For each of the labels `(T, B)` the mean image of its class `(T, B, in)`, from the rounds' mean gradient.

    The scale of a clipped gradient is told by the bias of the classes without an image: p of the mean image, scaled.
    """
    facts, classes = view.facts, view.facts.model.num_classes
    layer = Layer(*(part.unflatten(1, (-1, classes)).mean(dim=1) for part in layer))
    counts = one_hot(labels, classes, layer.bias.dtype).sum(dim=1)
    scale = torch.ones_like(layer.bias[:, :1])
    if facts.clip_norm is not None:
        absent = counts == 0
        p = facts.model.logits(view.rounds[0].broadcast, view.mean_image.unsqueeze(0)).double().softmax(dim=1)
        told = (layer.bias * absent).sum(dim=1, keepdim=True) / (p * absent).sum(dim=1, keepdim=True).clamp(min=TINY)
        scale = torch.where(told > 0, told, 1)
    return class_means(layer, counts, scale).gather(1, labels.unsqueeze(2).expand(-1, -1, layer.weight.shape[2]))


def ends(view: View) -> tuple[Tensor, Tensor]:
    """The lowest and the highest value `(in,)` that normalised pixels can have."""
    facts, shape = view.facts, view.image_shape
    black, white = (((end - facts.mean) / facts.std).double()[:, None, None].expand(shape).flatten() for end in (0, 1))
    return black, white


def halfway(signs: Tensor, view: View) -> Tensor:
    """Pixels `(T, in)` halfway between the mean pixel, which is 0, and the end that `signs (T, in)` point to."""
    lowest, highest = ends(view)
    return torch.where(signs > 0, signs * highest, -signs * lowest) / 2
