"""Imprint (Fowl et al. 2022, "Robbing the Fed"): a server that deviates reads single images out of a sum of gradients.

It sends another model than the protocol's. All r units of the first layer ask for the same number of an image x, w . x,
and unit i fires where that is above t_i, the i / r quantile of w . x over images: normal, by what everybody knows of
them. The second layer treats the units alike, so that every unit that fires gets the same error e. Of units i and i + 1
the gradients then differ by those images alone that fall between t_i and t_{i + 1}: dW_i - dW_{i+1} = sum of e x and
db_i - db_{i+1} = sum of e, of one image its pixels exactly. Nothing in it asks from whom a gradient came: of a sum over
clients the server reads images of all of them. Of n images n (1 - 1 / r)^(n - 1) are expected to lie alone. In each
round that it watches the direction w is another one, so that images that met once part again.

As in the authors' code (breaching, `ImprintBlock` with `linfunc="randn"`), where the units are a block in front of the
model; here they are the MLP's own first layer. Signs of a gradient have no differences: of those it sees what
`analytic` sees.
"""

import math
from statistics import NormalDist

import torch
from torch import Tensor

from attacks.analytic import Analytic, ends
from bench.attacking.inversion import inferred_labels, observations
from bench.attacking.linear_layers import TINY, Layer
from bench.base.elementary import distances
from bench.base.errors import require
from bench.models.dense import DenseModel
from bench.registry import register
from bench.threat import PrivacyAttack, PublicFacts, Reconstruction, View

GAIN = 1e-3
"""How small the first layer is made, and its gradient large beside the others (the authors' default)."""
SAME = 0.01
"""How far apart, as a share of their length, rows of two rounds may be that show one image."""
LOWEST = -10.0
"""Standard deviations below the mean: the first unit fires for every image (the authors' value)."""


@register("attack", "imprint")
class Imprint(PrivacyAttack):
    """Its answer for a target hidden in a sum is as many images as the sum is of: whose they are it cannot tell."""

    deviates = True

    def tampered(self, facts: PublicFacts, params: Tensor, mean_image: Tensor, generator: torch.Generator) -> Tensor:
        """Raises `ValueError` for a model without two dense layers before the last."""
        model = facts.model
        require(isinstance(model, DenseModel) and len(model.shapes) >= 6, "model", model.name, "one like mlp")
        sent = params.clone()
        weight, bias, second, second_bias = model.split(sent)[:4]
        units, inputs = weight.shape
        w = torch.randn(inputs, generator=generator, dtype=torch.float64).to(params)
        w = (w - w.mean()) / w.std() / math.sqrt(inputs)
        weight.copy_(GAIN * w.expand(units, inputs))
        bias.copy_(-GAIN * thresholds(w, mean_image.to(params), units))
        second.fill_(1 / (GAIN * units))
        second_bias.zero_()
        return sent

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """Images `(T, K, C, H, W)`, K as many as there are in what was seen; the mean image where nothing was read."""
        estimates = [seen.estimate for seen in view.rounds]
        seen = observations(view, estimates)
        if seen[-1].sign:
            return Analytic().infer(view, generator)
        layers = [differences(Layer(*view.facts.model.split(each.target.double())[:2])) for each in seen]
        images = best(layers, view).unflatten(2, view.image_shape).to(view.mean_image.dtype)
        silent = torch.stack([(layer.bias == 0).double().mean(dim=1) for layer in layers]).mean(dim=0)
        return Reconstruction(images, inferred_labels(view, seen[-1]), silent, [float(silent.median())], estimates[-1])


def thresholds(w: Tensor, mean_image: Tensor, units: int) -> Tensor:
    """Rising `(units,)`: the i / r quantiles of w . x `(in,)` if that is normal.

    Pixels are normalised, so that their mean square is 1; what the mean image has of that does not vary. Entries of w
    are independent of the images, so the variance of w . x is in the mean that of a pixel (w has length 1).
    """
    middle = float(w @ mean_image.flatten())
    spread = math.sqrt(max(1 - float(mean_image.square().mean()), TINY))
    normal = NormalDist()
    scores = [LOWEST, *(normal.inv_cdf(i / units) for i in range(1, units))]
    return torch.tensor([middle + spread * score for score in scores], dtype=w.dtype)


def differences(layer: Layer) -> Layer:
    """What each unit's gradient has beyond that of the next one, which fires for fewer images."""
    return Layer(*(part - torch.cat([part[:, 1:], torch.zeros_like(part[:, :1])], dim=1) for part in layer))


def best(layers: list[Layer], view: View) -> Tensor:
    """Inputs `(T, K, in)` that units' dW / db show, those first that two rounds show: an image, not an average of some.

    Among the others those that lie best between black and white: averages with errors of both signs seldom do.
    """
    black, white = ends(view)
    weight, bias = (
        torch.cat([layer.weight for layer in layers], dim=1),
        torch.cat([layer.bias for layer in layers], dim=1),
    )
    index = torch.arange(len(layers)).repeat_interleave(layers[0].bias.shape[1])
    shown = bias.abs() > 1e-9 * bias.abs().amax(dim=1, keepdim=True).clamp(min=TINY)
    rows = weight / torch.where(shown, bias, 1).unsqueeze(2)
    length = rows.norm(dim=2).clamp(min=TINY)
    alike = (distances(rows, rows) <= SAME * length.unsqueeze(2)) & shown.unsqueeze(1) & shown.unsqueeze(2)
    again = alike & (index.unsqueeze(1) > index)  # a row that an earlier round has shown
    outside = ((rows - rows.clamp(black, white)).norm(dim=2) / length).clamp(max=0.99)
    twice = (alike & (index.unsqueeze(1) != index)).any(dim=2)
    score = torch.where(shown & ~again.any(dim=2), twice.double() - outside, -math.inf)
    order = score.topk(min(view.most_images, score.shape[1]), dim=1)
    result = rows.clamp(black, white).gather(1, order.indices.unsqueeze(2).expand(-1, -1, rows.shape[2]))
    result = torch.where(order.values.isfinite().unsqueeze(2), result, view.mean_image.double().flatten())
    missing = view.most_images - result.shape[1]
    return torch.cat([result, view.mean_image.double().flatten().expand(len(result), missing, -1)], dim=1)
