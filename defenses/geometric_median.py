"""Geometric median, RFA (Pillutla, Kakade and Harchaoui 2022): smoothed Weiszfeld steps to the end.

The point with the smallest mean distance to the messages. A step is a mean weighted by inverse distances, none taken as
shorter than nu; distances from a mean follow from the Gram matrix, so that a step costs n x n, whatever the dimension.
"""

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from bench.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import RowRule, apply_weights, checked_gram, squared_distances

MAX_STEPS = 10_000
"""Steps after which it is left at that: each makes the mean distance smaller, but none need be the last."""

ROUNDING = 1e-7
"""Of a row's length, seen from the Gram matrix's centre: below it a distance is rounding error."""


def geometric_median_weights(gram: Tensor, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """Weights `(n,)` of the geometric median; they are positive and sum to 1.

    Stops where the gradient of the smoothed mean distance g is no longer than `tolerance`; a gradient of length 1 pulls
    with all rows in one direction. Since g is convex, its value there is at most 2 `tolerance` g above the minimum.
    """
    require(0 < nu < np.inf, "nu", nu, "positive and finite")
    require(tolerance > 0, "tolerance", tolerance, "positive")
    g = gram.cpu().numpy()
    norms = g.diagonal()
    shortest = np.maximum(nu, ROUNDING * np.sqrt(norms.clip(min=0)))
    # A row's median distance to all rows stands in for its distance to their median.
    pull = 1 / np.maximum(np.median(squared_distances(gram).sqrt().cpu().numpy(), axis=1), shortest)
    weights = pull / pull.sum()
    products = g @ weights
    for _ in range(MAX_STEPS):
        distances = np.sqrt((norms - 2 * products + weights @ products).clip(min=0))
        pull = 1 / np.maximum(distances, shortest)
        moved = pull / pull.sum()
        moved_products = g @ moved
        gradient = pull.mean() * np.sqrt(max(0.0, (moved - weights) @ (moved_products - products)))
        weights, products = moved, moved_products
        if gradient <= tolerance:
            break
    return torch.from_numpy(weights).to(gram.device)


def geometric_median(messages: Tensor, *, nu: float = 1e-6, tolerance: float = 1e-6) -> Tensor:
    """The geometric median `(d,)` of `(n, d)`, smoothed below the distance `nu`, converged to `tolerance`.

    Raises `ValueError` unless nu and the tolerance are positive and the messages are finite.
    """
    return apply_weights(geometric_median_weights(checked_gram(messages), nu, tolerance), messages)


@register("defense", "geometric_median")
class GeometricMedian(RowRule):
    """The geometric median of the messages; nu is the paper's."""

    nu: float = Field(default=1e-6, gt=0)
    tolerance: float = Field(default=1e-6, gt=0)

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return geometric_median_weights(gram, self.nu, self.tolerance)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return fraction < 0.5
