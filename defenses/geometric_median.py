"""Geometric median, RFA (Pillutla, Kakade and Harchaoui 2022): smoothed Weiszfeld steps to the end.

The point with the smallest mean distance to the messages. A step goes to their mean weighted by inverse distances, none
taken as shorter than nu; how it looks at the messages is `bench.rules.weiszfeld`'s.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import all_finite
from bench.registry import register
from bench.rules import RowRule, apply_weights
from bench.rules.gram import checked_gram
from bench.rules.weiszfeld import Point, PointAmongRows, PointByProducts
from defenses.median import coordinate_median

MAX_STEPS = 10_000
"""Steps after which it is left at that: each makes the mean distance smaller, but none need be the last."""

SAMPLE = 255
"""Rows among which a point begins, an odd number: their median is then one of the values."""


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
    weights = torch.from_numpy(weights_at_the_end(PointByProducts(gram, nu), tolerance)).to(gram.device)
    require(all_finite(weights), "gram", "not the products of rows", "finite products of finite rows")
    return weights


def geometric_median_weights_of(messages: Tensor, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """Weights `(n,)` of the geometric median of `(n, d)`, found in whichever of the two ways has the cheaper steps.

    Raises `ValueError` unless nu and the tolerance are positive and the messages are a finite, non-empty matrix.
    """
    if messages.dim() != 2 or len(messages) < messages.shape[1]:
        return geometric_median_weights(checked_gram(messages), nu, tolerance)
    _check(nu, tolerance)
    point = PointAmongRows(messages, nu, _start(messages))
    return torch.from_numpy(weights_at_the_end(point, tolerance)).to(messages.device)


def geometric_median(messages: Tensor, *, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """The geometric median `(d,)` of `(n, d)`, smoothed below the distance `nu`, converged to `tolerance`.

    Raises `ValueError` unless nu and the tolerance are positive and the messages are finite.
    """
    return apply_weights(geometric_median_weights_of(messages, nu, tolerance), messages)


@register("defense", "geometric_median")
class GeometricMedian(RowRule):
    """The geometric median of the messages; nu is the paper's."""

    breakdown = 0.5

    nu: float = Field(default=1e-6, gt=0)
    tolerance: float = Field(default=1e-6, gt=0)

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return geometric_median_weights(gram, self.nu, self.tolerance)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return geometric_median_weights_of(messages, self.nu, self.tolerance)


def _start(messages: Tensor) -> Tensor:
    """The coordinate-wise median of some, where no minority holds it back: from far away, a step goes but a share."""
    some = torch.linspace(0, len(messages) - 1, min(len(messages), SAMPLE)).round().long()
    return coordinate_median(messages[some.to(messages.device)])


def _check(nu: float, tolerance: float) -> None:
    require(0 < nu < np.inf, "nu", nu, "positive and finite")
    require(tolerance > 0, "tolerance", tolerance, "positive")
