"""SPEAR (Dimitrov, Baader, Müller and Vechev 2024): exact inversion of a batch at a dense layer that ReLU follows.

Of B images x the layer's gradient is dW = dZ X^T, of rank B: dW = L R by its singular values. Then dZ = L Q and
X^T = Q^-1 R for one matrix Q (B, B), and nothing but Q is unknown. ReLU tells it, as image i does not move the units
that it leaves silent: column i of dZ is 0 there. B - 1 such rows of L alone leave one direction, q_i, which they map to
0. So

    draw B - 1 rows of L, and take the direction q that they map to 0
    keep it where L q is 0 on many more rows than those, tau m: about half of the m units are silent for an image
    of all that were kept take the B sparsest that are independent, then swap while that raises the score
    score: the share of entries of dZ that are 0 where the images leave a unit silent, and are not 0 elsewhere

All q_i are found in about B 2^(B - 1) draws at most, which is the limit. The gradient of the bias, dZ 1, tells the
scale of each q_i: here it is the weight of an input that is 1. Clipping changes nothing, as the scale is read off; more
rounds on the same images give more rows. Behind a sum over clients B is all of their images.

Ours are the treatment of noise, such as float32's, and what comes of a failure. Noise has the variance of what the
gradient has outside of its B largest singular values. Entries of L q below ten of its deviations are 0, and q is fit
again on all rows where it is. With a score below `least`, or with too few directions, the answer is the mean image, as
it is for signs. Worked from the paper's abstract and from summaries of its algorithm: neither its text nor the authors'
code (eth-sri/SPEAR) was at hand, and tau, `rejected` and when the draws end are our reading.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from attacks.analytic import ends, first_layers
from bench.attacking.factors import ROUNDING, Factors
from bench.attacking.inversion import Observation, inferred_labels, observations
from bench.attacking.linear_layers import Layer, stacked
from bench.base.errors import require
from bench.models.base import Model
from bench.models.dense import DenseModel
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View

CHUNK = 2048
"""Directions that are drawn at once."""
PATIENCE = 20
"""How often an image that leaves but a third of the rows silent is drawn before the best score counts."""
POOL = 4
"""Times B, so many directions are swapped in."""


class Solution(NamedTuple):
    """Inputs `(B, in)` whose silent units agree with dZ in the share `score` of its entries.

    possible: no unit is moved by an image that leaves it silent; an entry of 0 elsewhere may be noise.
    """

    inputs: Tensor
    score: float
    possible: bool


@register("attack", "spear")
class Spear(PrivacyAttack):
    """The passive server, against models that begin with a dense layer and ReLU."""

    samples: int = Field(default=2**17, ge=1)  # draws a target at most; no more than 1 + log2 of it images are tried
    rejected: float = Field(default=1e-5, gt=0, lt=0.5)  # the share of true directions that the filter may lose
    least: float = Field(default=0.9, ge=0, le=1)  # the score below which the answer is the mean image

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """Raises `ValueError` for a model without a dense layer that ReLU follows."""
        model, estimates = view.facts.model, [seen.estimate for seen in view.rounds]
        wanted = "one that begins with a dense layer and ReLU: mlp"
        require(isinstance(model, DenseModel) and len(model.shapes) >= 4, "model", model.name, wanted)
        seen = observations(view, estimates)
        labels = inferred_labels(view, seen[-1])
        inputs = view.mean_image.double().flatten().repeat(len(labels), view.most_images, 1)
        scores = torch.zeros(len(labels), dtype=torch.float64)
        if not seen[-1].sign:
            gradients, (low, high) = stacked(first_layers(model, seen)), ends(view)
            for target, layer in enumerate(sent_layers(model, seen)):
                result = self.read(gradients[target], layer, view.most_images, model.shapes[0][0], generator)
                if result is not None:
                    inputs[target, : len(result.inputs)] = result.inputs.clamp(low, high)
                    scores[target] = result.score
        images = inputs.unflatten(2, view.image_shape).to(view.mean_image.dtype)
        return Reconstruction(images, labels, 1 - scores, [float((1 - scores).median())], estimates[-1])

    def read(
        self, gradient: Tensor, layer: Tensor, most: int, units: int, generator: torch.Generator
    ) -> Solution | None:
        """At most `most` images of a `gradient (m, in + 1)` at [W | b] = `layer (m, in + 1)`; None below `least`.

        m is `units`, or a multiple of it where rows of several rounds lie below one another.
        """
        result = self.solve(Factors.of(gradient, most), layer, silent_share(units, self.rejected), generator)
        return result if result is not None and result.score >= self.least else None

    def solve(self, factors: Factors, layer: Tensor, tau: float, generator: torch.Generator) -> Solution | None:
        """The best batch that so many draws give for [W | b] = `layer (m, in + 1)`; None where they give too few.

        They end where nothing contradicts what was found.
        """
        size, wanted = factors.size, tau * len(layer)
        if size == 0 or 2 ** (size - 1) > self.samples:
            return None
        kept, best, most = layer.new_zeros(0, size), None, min(self.samples, PATIENCE * 3 ** (size - 1))
        for drawn in range(0, most, CHUNK):
            fresh = sparse(factors, directions(factors.left, min(CHUNK, most - drawn), generator), wanted)
            fresh = sparse(factors, factors.refit(factors.distinct(fresh)), wanted)
            before, kept = len(kept), factors.distinct(torch.cat([kept, fresh]))
            result = greedy(factors, layer, kept) if len(kept) > before else None
            best = result if result is not None and (best is None or result.score > best.score) else best
            if best is not None and best.possible and best.score >= self.least:
                break
        return best


def sent_layers(model: Model, seen: list[Observation]) -> Tensor:
    """[W | b] `(T, m, in + 1)` of the first layers that the targets' models had, all rounds' rows below one another."""
    tensors = [model.split(each.params.double().expand_as(each.target))[:2] for each in seen]
    return torch.cat([stacked(Layer(*pair)) for pair in tensors], dim=1)


def silent_share(units: int, rejected: float) -> float:
    """tau: of `units` that are silent half of the time, a share that all but the part `rejected` of images exceed.

    The binomial distribution's quantile, by the normal one.
    """
    return 0.5 + NormalDist().inv_cdf(rejected) / (2 * math.sqrt(units))


def directions(left: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Directions `(k, B)` of length 1, each mapped to 0 by B - 1 random rows of L `(m, B)`; k <= `count`.

    Units that no image moves say nothing and are not drawn; rows that leave more than a direction are left out.
    """
    size = left.shape[1]
    moved = left[left.abs().amax(dim=1) > ROUNDING * left.abs().max()]
    if len(moved) < size:
        return left.new_zeros(0, size)
    order = torch.rand(count, len(moved), generator=generator, dtype=torch.float64)
    rows = moved[order.topk(size - 1, dim=1).indices]
    solved, _ = torch.linalg.solve_ex(rows[..., :-1], -rows[..., -1:])
    result = torch.cat([solved[..., 0], torch.ones_like(order[:, :1])], dim=1)
    result = result[result.isfinite().all(dim=1)]
    return torch.div(result, result.norm(dim=1, keepdim=True))


def sparse(factors: Factors, found: Tensor, wanted: float) -> Tensor:
    """Of directions `found (k, B)` those with L q = 0 on `wanted` rows or more."""
    return found[factors.is_zero(found).sum(dim=0) >= wanted]


def greedy(factors: Factors, layer: Tensor, kept: Tensor) -> Solution | None:
    """The B of `kept (k, B)`, the sparsest first, that are independent; then swaps while the score rises."""
    chosen = factors.independent(kept)
    if len(chosen) < factors.size:
        return None

    def score(places: Tensor) -> Tensor:
        """Of `places (..., B)` in `kept`: the share of units and images where those that are active are moved."""
        active = layer @ factors.inputs(kept[places]).mT > 0
        return (active != factors.is_zero(kept[places])).double().mean(dim=(-2, -1))

    best, improved = float(score(chosen)), True
    while improved and best < 1:
        improved = False
        for other in range(min(len(kept), POOL * factors.size)):
            if other not in chosen:
                swapped = chosen.repeat(len(chosen), 1).fill_diagonal_(other)  # (B, B): in each place once
                result = score(swapped)
                if float(result.max()) > best:
                    chosen, best, improved = swapped[result.argmax()], float(result.max()), True
    inputs = factors.inputs(kept[chosen])
    silent, moved = layer @ inputs.mT <= 0, ~factors.is_zero(kept[chosen])
    return Solution(inputs[:, :-1], best, not bool((silent & moved).any()))
