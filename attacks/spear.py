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
gradient has outside of its B largest singular values. Entries of L q below `NOISES` of its deviations are 0, and q is
fit again on all rows where it is. With a score below `least`, or with too few directions, the answer is the mean image,
as it is for signs. Worked from the paper's abstract and from descriptions of its algorithm and theorems: neither its
text nor the authors' code (eth-sri/SPEAR) was at hand, and the numbers tau and `rejected` are our reading.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import torch
from pydantic import Field
from torch import Tensor

from attacks.analytic import ends
from bench.attacking.inversion import Observation, inferred_labels, observations
from bench.attacking.linear_layers import TINY, Layer, stacked
from bench.base.errors import require
from bench.models.base import Model
from bench.models.dense import DenseModel
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View

NOISES = 10.0
"""Standard deviations of noise, below which an entry of dZ counts as 0."""
ROUNDING = 1e-9
"""The same where there is no noise, as a share of the largest entry."""
CHUNK = 2048
"""Submatrices that are drawn at once."""
SAME = 1e-4
"""1 - cos of two columns of dZ that are the same direction, found twice."""
SURE = 0.99
"""A score that ends the draws."""
PATIENCE = 4
"""Times the draws that the first B directions took, after which the best score counts."""


@register("attack", "spear")
class Spear(PrivacyAttack):
    """The passive server, against models that begin with a dense layer and ReLU."""

    samples: int = Field(default=2**17, ge=1)  # draws a target at most; no more than log2 of it images are tried
    rejected: float = Field(default=1e-5, gt=0, lt=0.5)  # the share of true directions that the filter may lose
    least: float = Field(default=0.9, ge=0, le=1)  # the score below which the answer is the mean image

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        """Raises `ValueError` for a model without a dense layer that ReLU follows."""
        model = view.facts.model
        require(isinstance(model, DenseModel) and len(model.shapes) >= 4, "model", model.name, "one like mlp")
        estimates = [seen.estimate for seen in view.rounds]
        seen = observations(view, estimates)
        labels = inferred_labels(view, seen[-1])
        inputs = view.mean_image.double().flatten().repeat(len(labels), view.most_images, 1)
        scores = torch.zeros(len(labels), dtype=torch.float64)
        if not seen[-1].sign:
            low, high = ends(view)
            for target in range(len(labels)):
                problem = Problem.of(model, seen, target, view.most_images)
                found = self.solve(problem, generator)
                if found is not None and found.score >= self.least:
                    inputs[target, : len(found.inputs)] = found.inputs.clamp(low, high)
                    scores[target] = found.score
        images = inputs.unflatten(2, view.image_shape).to(view.mean_image.dtype)
        return Reconstruction(images, labels, 1 - scores, [float((1 - scores).median())], estimates[-1])

    def solve(self, problem: "Problem", generator: torch.Generator) -> "Solution | None":
        """The best batch that so many draws give, None where they give fewer directions than images."""
        size = problem.left.shape[1]
        if size == 0 or 2 ** (size - 1) > self.samples:
            return None
        zeros = silent_units(problem.units, self.rejected) * len(problem.left)
        kept, best, complete = problem.left.new_zeros(0, size), None, 0
        for drawn in range(CHUNK, self.samples + CHUNK, CHUNK):
            fresh = problem.filtered(directions(problem.left, CHUNK, generator), zeros)
            before, kept = len(kept), problem.distinct(torch.cat([kept, fresh]))
            if len(kept) > before:
                found = greedy(problem, kept[: 4 * size])
                best = found if found is not None and (best is None or found.score > best.score) else best
            complete = complete or drawn * (best is not None)
            if best is not None and (best.score >= SURE or drawn >= PATIENCE * complete):
                break
        return best


@dataclass(frozen=True)
class Solution:
    """Inputs `(B, in)` whose silent units agree with dZ in the share `score` of its entries."""

    inputs: Tensor
    score: float


@dataclass(frozen=True)
class Problem:
    """One target's gradient [dW | db] = L R: `left (m, B)`, `right (B, in + 1)`, `noise` on an entry of L q, |q| = 1.

    forward: [W | b] `(m, in + 1)` of the same rows; units: how many of the m rows are of one round; scales `(B,)`: the
    singular values, those of L.
    """

    left: Tensor
    right: Tensor
    scales: Tensor
    noise: float
    forward: Tensor
    units: int

    @classmethod
    def of(cls, model: Model, seen: list[Observation], target: int, most: int) -> Self:
        """Of all rounds' gradients below one another; `most` images, or as many as stand out of the noise."""
        gradients = [stacked(first(model, each.target[target])) for each in seen]
        models = [stacked(first(model, each.params.expand_as(each.target)[target])) for each in seen]
        gradient = torch.cat(gradients, dim=1)[0]
        u, s, v = torch.linalg.svd(gradient, full_matrices=False)
        rows, width = gradient.shape
        size = min(most, len(s))
        outside = (rows - size) * (width - size)
        noise = float(s[size:].square().sum()) ** 0.5 / max(outside, 1) ** 0.5
        edge = noise * (math.sqrt(rows) + math.sqrt(width)) + ROUNDING * float(s[0])
        size = min(size, int((s > 2 * edge).sum()))
        left = u[:, :size] * s[:size]
        return cls(left, v[:size], s[:size], noise, torch.cat(models, dim=1)[0], gradients[0].shape[1])

    def is_zero(self, columns: Tensor) -> Tensor:
        """Which entries of `columns (m, k)` = L q, |q| = 1, are nothing but noise."""
        return columns.abs() <= NOISES * self.noise + ROUNDING * columns.abs().amax(dim=0)

    def filtered(self, found: Tensor, zeros: float) -> Tensor:
        """Of directions `(k, B)` those that leave so many entries 0, each fit again on all the rows where it does."""
        kept = found[self.is_zero(self.left @ found.mT).sum(dim=0) >= zeros]
        kept = self.distinct(kept)
        silent = self.is_zero(self.left @ kept.mT).to(kept.dtype)
        gram = torch.einsum("mk,mi,mj->kij", silent, self.left, self.left)
        again = torch.linalg.eigh(gram).eigenvectors[:, :, 0]
        return again[self.is_zero(self.left @ again.mT).sum(dim=0) >= zeros]

    def distinct(self, found: Tensor) -> Tensor:
        """Directions `(k, B)`, those with the most zeros first, each once: compared as columns of dZ."""
        order = self.is_zero(self.left @ found.mT).sum(dim=0).argsort(descending=True, stable=True)
        found = found[order]
        columns = found * self.scales
        columns = columns / columns.norm(dim=1, keepdim=True).clamp(min=TINY)
        left, kept = torch.arange(len(found)), []
        while len(left):
            kept.append(left[0])
            left = left[(columns[left] @ columns[left[0]]).abs() < 1 - SAME]
        return found[torch.stack(kept)] if kept else found

    def solution(self, chosen: Tensor) -> Solution:
        """Q = `chosen (B, B)`, a direction a row: X^T = Q^-1 R, each row scaled so that its last input is 1."""
        rows = torch.linalg.solve(chosen.mT, self.right)
        scale = rows[:, -1:]
        inputs = rows / torch.where(scale.abs() > TINY, scale, TINY)
        active, moved = self.forward @ inputs.mT > 0, ~self.is_zero(self.left @ chosen.mT)
        return Solution(inputs[:, :-1], float((active == moved).double().mean()))


def first(model: Model, vector: Tensor) -> Layer:
    """The first layer's part of `vector (d,)`."""
    weight, bias = model.split(vector.double().unsqueeze(0))[:2]
    return Layer(weight, bias)


def silent_units(units: int, rejected: float) -> float:
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
    found = torch.cat([solved[..., 0], torch.ones_like(order[:, :1])], dim=1)
    found = found[found.isfinite().all(dim=1)]
    return found / found.norm(dim=1, keepdim=True)


def greedy(problem: Problem, candidates: Tensor) -> Solution | None:
    """The B of `candidates (k, B)`, the sparsest first, that are independent; then swaps while the score rises."""
    size = candidates.shape[1]
    chosen = independent(candidates * problem.scales)
    if len(chosen) < size:
        return None
    best, improved = problem.solution(candidates[chosen]), True
    while improved and best.score < SURE:
        improved = False
        for other in range(len(candidates)):
            for place in range(size):
                if other in chosen:
                    break
                swapped = [*chosen[:place], other, *chosen[place + 1 :]]
                if len(independent(candidates[swapped] * problem.scales)) < size:
                    continue
                found = problem.solution(candidates[swapped])
                if found.score > best.score:
                    best, chosen, improved = found, swapped, True
    return best


def independent(columns: Tensor) -> list[int]:
    """Which rows of `columns (k, B)`, the first ones first, are not spanned by those taken before (Gram and Schmidt)."""
    taken: list[int] = []
    basis = columns.new_zeros(0, columns.shape[1])
    for index, column in enumerate(columns / columns.norm(dim=1, keepdim=True).clamp(min=TINY)):
        rest = column - basis.mT @ (basis @ column)
        if float(rest.norm()) > math.sqrt(SAME) and len(taken) < columns.shape[1]:
            taken.append(index)
            basis = torch.cat([basis, (rest / rest.norm()).unsqueeze(0)])
    return taken
