"""Nearest-neighbour mixing (Allouah et al. 2023): each message becomes the mean of its n - f nearest.

The paper is "Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity".
"""

import numpy as np
import torch
from torch import Tensor

from bench.errors import require
from bench.preaggregation import Mixing
from bench.protocol import Setting
from bench.registry import register
from bench.rules import checked_gram, over_distances


def nnm_matrix(gram: Tensor, num_byzantine: int) -> Tensor:
    """M `(n, n)`: row i has 1 / (n - f) at the n - f messages nearest to message i, itself among them."""
    n = len(gram)
    _check(n, num_byzantine, "num_byzantine")
    near = n - num_byzantine

    def rows_of_m(distances: np.ndarray) -> np.ndarray:
        mixed = np.zeros_like(distances)
        np.put_along_axis(mixed, np.argpartition(distances, near - 1, axis=1)[:, :near], 1 / near, axis=1)
        return mixed

    return over_distances(gram, rows_of_m, diagonal=-1.0)  # nearer than any copy of itself


def nnm(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mixed messages `(n, d)` of `(n, d)`; raises `ValueError` unless 0 <= f < n / 2 and all is finite."""
    return nnm_matrix(checked_gram(messages), num_byzantine).to(messages.dtype) @ messages


@register("defense", "nnm")
class NNM(Mixing):
    """NNM before another rule, with the suite's assumed f; the mixed messages of f clients stay theirs."""

    rule: str = "trimmed_mean"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")
        super().start(setting)

    def mix(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return nnm_matrix(gram, num_byzantine)

    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        return nnm(messages, num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: NNM needs n > 2 f")
