"""Class fishing (Wen et al. 2022, "Fishing for User Data"): a server that deviates lets one class alone move the model.

It sends another last layer than the protocol's. The rows of all classes but the fished one, c, are 0, and their biases
so large that no image is answered with c. Then what an image of class j sends back through the last layer is
sum over k of (p_k - y_k) W_k = (p_c - y_c) W_c: nothing for j other than c, and -W_c for c, whatever the image. So

    gradient of all layers before the last = 1 / B of the sum over the images of class c alone

of a large batch one sample's gradient, where it is the only one of its class. With p known, the last bias names all
labels exactly: class j has B (p_j - g_j) images. Each round that it watches fishes another class, drawn at random, or
`target_class` every time. What was caught is a batch of few images: an image that is alone in its class is the gradient
of the first layer over that of its bias, several are read as `spear` reads them, or as `analytic` does where that finds
no batch. A client who holds none of the class shows nothing.

As in the authors' code (breaching, `cls_attack` in `classattack_utils.py`): weights of 1/2 for c, biases of 1000 for
the others, all layers before left as they are; the bias of c is 0 here. Their way to part images of one class, by a
threshold on a feature (`feature_attack`), is not here. Behind a sum the images of all clients are in the net, where
there may be too many. Signs, and clients who keep models of their own (RSA), leave no such gradient: of those it sees
what `analytic` sees.
"""

import torch
from pydantic import Field
from torch import Tensor

from attacks.analytic import Analytic, ends, first_layers
from attacks.spear import Spear, sent_layers
from bench.attacking.inversion import Observation, inferred_labels, observations
from bench.attacking.linear_layers import Layer, combined, repeated_rows, stacked, unexplained, without_noise
from bench.base.errors import require
from bench.models.dense import DenseModel
from bench.registry import register
from bench.threat import PrivacyAttack, PublicFacts, Reconstruction, View

WEIGHT = 0.5
"""Of the fished class, on every feature (the authors' value)."""
BIAS = 1000.0
"""Of all other classes (the authors' value)."""


@register("attack", "class_fishing")
class ClassFishing(PrivacyAttack):
    """Against models whose first layer is dense; its answer is the mean image for all that was not fished."""

    deviates = True

    target_class: int | None = Field(default=None, ge=0)  # None draws one anew in each round
    same: float = Field(default=0.01, gt=0)  # how far apart rows of one image may be, as a share of its length

    def tampered(self, facts: PublicFacts, params: Tensor, mean_image: Tensor, generator: torch.Generator) -> Tensor:
        """Raises `ValueError` for a model without a hidden dense layer, or for a class that there is not."""
        model, chosen = facts.model, self.target_class
        wanted = "one of dense layers, two or more: mlp"
        require(isinstance(model, DenseModel) and len(model.shapes) >= 4, "model", model.name, wanted)
        if chosen is None:
            chosen = int(torch.randint(model.num_classes, (), generator=generator))
        require(chosen < model.num_classes, "target_class", chosen, f"below {model.num_classes}, the number of classes")
        sent = params.clone()
        weight, bias = model.split(sent)[-2:]
        fish(weight, bias, chosen)
        return sent

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = [seen.estimate for seen in view.rounds]
        seen = observations(view, estimates)
        if seen[-1].sign or view.facts.keeps_models:
            return Analytic().infer(view, generator)
        names = [fished_class(view.facts.model.split(each.params)[-2]) for each in seen]
        nets = [[each for each, name in zip(seen, names, strict=True) if name == c] for c in sorted(set(names))]
        layers = [first_layers(view.facts.model, net) for net in nets]
        images = view.mean_image.double().flatten().repeat(len(view.targets), view.most_images, 1)
        landed = [0] * len(images)
        for net, layer in zip(nets, layers, strict=True):
            sent = sent_layers(view.facts.model, net)
            for target, count in enumerate(caught(view, net)):
                mine = Layer(*(part[target : target + 1] for part in layer))
                if count and landed[target] + count <= view.most_images:
                    places = slice(landed[target], landed[target] + count)
                    images[target, places] = self.read(mine, count, view, sent[target], generator)
                    landed[target] += count
        loss = torch.stack([unexplained(layer, images) for layer in layers]).mean(dim=0)
        shown = images.unflatten(2, view.image_shape).to(view.mean_image.dtype)
        return Reconstruction(shown, inferred_labels(view, seen[-1]), loss, [float(loss.median())], estimates[-1])

    def read(self, layer: Layer, count: int, view: View, sent: Tensor, generator: torch.Generator) -> Tensor:
        """The `count` inputs `(count, in)` of a first layer's gradient `(1, r, in)` at [W | b] = `sent (r, in + 1)`."""
        black, white = ends(view)
        net = without_noise(layer, count)
        if count == 1:
            return combined(net).clamp(black, white)
        solved = Spear().read(stacked(layer)[0], sent, count, view.facts.model.shapes[0][0], generator)
        if solved is not None and len(solved.inputs) == count:
            return solved.inputs.clamp(black, white)
        return repeated_rows(net, count, self.same, black, white)[0].clamp(black, white)


def fish(weight: Tensor, bias: Tensor, chosen: int) -> None:
    """Make a last layer, `weight (classes, in)` and `bias (classes,)`, move for the class `chosen` alone; in place."""
    weight.zero_()
    weight[chosen] = WEIGHT
    bias.fill_(BIAS)
    bias[chosen] = 0


def fished_class(weight: Tensor) -> int:
    """The class whose row of a last layer `(classes, in)` is the longest: all others of a fished one are 0."""
    return int(weight.norm(dim=-1).argmax())


def caught(view: View, net: list[Observation]) -> list[int]:
    """How many images of the class that the rounds `net` fished each target has, at most `most_images` in all.

    No image is answered with c, so that its bias has the gradient -n_c / B, averaged over the rounds. A clipped
    gradient's scale is told by a class without images: all images answer it with 1 / (classes - 1).
    """
    model = view.facts.model
    chosen = fished_class(model.split(net[0].params)[-2])
    errors = torch.stack([model.split(each.target.double())[-1] for each in net]).mean(dim=0)
    scale = torch.ones(len(errors), dtype=errors.dtype)
    if view.facts.clip_norm is not None:
        told = (model.num_classes - 1) * errors.amax(dim=1)
        scale = torch.where(told > 0, told, 1)
    shares = (-errors[:, chosen] / scale).clamp(0, 1)
    return [round(float(share) * view.most_images) for share in shares]
