"""Geometric median, RFA (Pillutla, Kakade and Harchaoui 2022): smoothed Weiszfeld steps to the end.

The point with the smallest mean distance to the messages. A step goes to their mean weighted by inverse distances, none
taken as shorter than nu. It looks at each of the n messages, d numbers long, or, where they are longer than there are
many, at the Gram matrix: distances from a mean follow from it, so that a step costs n x n, whatever the dimension.
"""

import math
from typing import Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.base.blocks import per_thread
from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import RowRule, apply_weights
from bench.rules.gram import checked_gram, norms_of, over_distances
from defenses.median import coordinate_median

MAX_STEPS = 10_000
"""Steps after which it is left at that: each makes the mean distance smaller, but none need be the last."""

ROUNDING = 1e-7
"""Of a row's length, seen from the Gram matrix's centre: below it a distance is rounding error."""

ROW_ROUNDING = 1e-14
"""The same where the rows themselves are looked at, whose differences are float64."""

GROUP_BYTES = 2**19
"""A core looks at rows of about this size, in float64, at a time: three times while they are in its cache."""

SAMPLE = 255
"""Rows among which a point begins, an odd number: their median is then one of the values."""


class Point(Protocol):
    """Where the steps have led so far: a weighted mean of the rows."""

    def step(self) -> tuple[np.ndarray, float]:
        """Go on to the mean weighted by inverse distances: its weights `(n,)`, and how long the gradient was."""


class PointByProducts:
    """A point known by its inner products with the rows, which are those of a Gram matrix `(n, n)`."""

    def __init__(self, gram: Tensor, nu: float) -> None:
        self.g = gram.cpu().numpy()
        self.norms = self.g.diagonal().copy()
        self.shortest = np.maximum(nu, ROUNDING * np.sqrt(self.norms.clip(min=0)))
        # A row's median distance to all rows stands in for its distance to their median.
        pull = 1 / np.maximum(over_distances(gram, median_distances).cpu().numpy(), self.shortest)
        self.weights = pull / pull.sum()
        self.products = self.g @ self.weights

    def step(self) -> tuple[np.ndarray, float]:
        squared = self.norms - 2 * self.products + self.weights @ self.products
        pull = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)), self.shortest)
        total = pull.sum()
        weights = pull / total
        products = self.g @ weights
        way = math.sqrt(max(0.0, (weights - self.weights) @ (products - self.products)))
        self.weights, self.products = weights, products
        return weights, total / len(pull) * way


def median_distances(squared: np.ndarray) -> np.ndarray:
    """The median `(b,)` of the distances in each row of `(b, n)`, given squared."""
    low, high = (squared.shape[1] - 1) // 2, squared.shape[1] // 2
    squared.partition(high, axis=1)
    median: np.ndarray = (np.sqrt(squared[:, : low + 1].max(axis=1)) + np.sqrt(squared[:, high])) / 2
    return median


class PointAmongRows:
    """A point `(d,)`, float64, that looks at the rows `(n, d)` in groups which stay in cache.

    It starts from the coordinate-wise median of some of them, where no minority holds it back: from far away, a step
    goes only a share of the way.
    """

    def __init__(self, messages: Tensor, nu: float) -> None:
        self.shortest = norms_of(messages).mul_(ROW_ROUNDING).clamp_(min=nu)
        self.groups = messages.split(per_thread(torch.float64.itemsize * messages.shape[1], GROUP_BYTES))
        self.apart = torch.empty_like(self.groups[0], dtype=torch.float64)  # the first group is the largest
        some = torch.linspace(0, len(messages) - 1, min(len(messages), SAMPLE)).round().long()
        self.at = coordinate_median(messages[some.to(messages.device)]).double()

    def step(self) -> tuple[np.ndarray, float]:
        way, pull = torch.zeros_like(self.at), torch.empty_like(self.shortest)
        start = 0
        for rows in self.groups:
            these = slice(start, start := start + len(rows))
            apart = self.apart[: len(rows)].copy_(rows).sub_(self.at)
            distances = torch.linalg.vector_norm(apart, dim=1)
            pull[these] = 1 / torch.maximum(distances, self.shortest[these])
            way.addmv_(apart.mT, pull[these])
        total = pull.sum()
        way /= total
        self.at += way
        return (pull / total).cpu().numpy(), float(total / len(pull) * torch.linalg.vector_norm(way))


def weights_at_the_end(point: Point, tolerance: float) -> np.ndarray:
    """Weights `(n,)` of the mean to which the last step goes; they are positive and sum to 1.

    Stops where the gradient of the smoothed mean distance g is no longer than `tolerance`; a gradient of length 1 pulls
    with all rows in one direction. Since g is convex, its value there is at most 2 `tolerance` g above the minimum.
    """
    for _ in range(MAX_STEPS):
        weights, gradient = point.step()
        if gradient <= tolerance:
            break
    return weights


def geometric_median_weights(gram: Tensor, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """Weights `(n,)` of the geometric median of the rows behind a Gram matrix."""
    _check(nu, tolerance)
    return torch.from_numpy(weights_at_the_end(PointByProducts(gram, nu), tolerance)).to(gram.device)


def geometric_median_weights_of(messages: Tensor, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """Weights `(n,)` of the geometric median of `(n, d)`, found in whichever of the two ways has the cheaper steps.

    Raises `ValueError` unless nu and the tolerance are positive and the messages are a finite, non-empty matrix.
    """
    if messages.dim() != 2 or len(messages) < messages.shape[1]:
        return geometric_median_weights(checked_gram(messages), nu, tolerance)
    _check(nu, tolerance)
    return torch.from_numpy(weights_at_the_end(PointAmongRows(messages, nu), tolerance)).to(messages.device)


def geometric_median(messages: Tensor, *, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """The geometric median `(d,)` of `(n, d)`, smoothed below the distance `nu`, converged to `tolerance`.

    Raises `ValueError` unless nu and the tolerance are positive and the messages are finite.
    """
    return apply_weights(geometric_median_weights_of(messages, nu, tolerance), messages)


@register("defense", "geometric_median")
class GeometricMedian(RowRule):
    """The geometric median of the messages; nu is the paper's."""

    nu: float = Field(default=1e-6, gt=0)
    tolerance: float = Field(default=1e-6, gt=0)

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return geometric_median_weights(gram, self.nu, self.tolerance)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return geometric_median_weights_of(messages, self.nu, self.tolerance)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return fraction < 0.5


def _check(nu: float, tolerance: float) -> None:
    require(0 < nu < np.inf, "nu", nu, "positive and finite")
    require(tolerance > 0, "tolerance", tolerance, "positive")
