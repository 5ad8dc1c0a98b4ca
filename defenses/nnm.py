"""Nearest-neighbour mixing (Allouah et al. 2023): each message becomes the mean of its n - f nearest.

The paper is "Fixing by mixing: a recipe for optimal Byzantine ML under heterogeneity".
"""

import math
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import Mixing
from bench.rules.gram import (
    CLOSE_PAIRS,
    DOUBLE_ERROR,
    ContestedError,
    check_square,
    copies,
    decided,
    over_distances_of,
)


def nnm_matrix(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """M `(n, n)`: row i has 1 / (n - f) at the n - f messages nearest to message i, itself among them.

    Of messages equally near the first count: equal is what differs by no more than products of this relative error can.
    Raises `ContestedError` where that error is not float64's, and decides; among many messages, where it decides at too
    many borders to measure all of those pairs again, the first count there too.
    """
    check_square(gram)
    n = len(gram)
    _check(n, num_byzantine, "num_byzantine")
    near = n - num_byzantine
    norms = gram.diagonal().cpu().numpy()
    contested: list[np.ndarray] = []

    def rows_of_m(distances: np.ndarray, rows: slice) -> np.ndarray:
        border = np.partition(distances, near - 1, axis=1)[:, near - 1]
        width = 2 * error * (6 * norms[rows] + 4 * border.clip(min=0))  # as the error of a score in Krum
        within = distances <= (border + width)[:, None]
        crowded = np.flatnonzero(np.count_nonzero(within, axis=1) > near)
        tied = within[crowded] & (distances[crowded] >= (border - width)[crowded, None])
        surely = within[crowded] & ~tied
        within[crowded] = surely | (tied & (tied.cumsum(axis=1) <= near - surely.sum(axis=1, keepdims=True)))
        places, others = np.nonzero(tied)
        contested.append(np.stack([rows.start + crowded[places], others], axis=1))
        mixed: np.ndarray = within / near
        return mixed

    m = over_distances_of(gram, rows_of_m, diagonal=-math.inf)  # nearer than any copy of itself
    pairs = np.concatenate(contested)
    if error > DOUBLE_ERROR and 0 < len(pairs) <= CLOSE_PAIRS * n:
        same = copies(gram).cpu().numpy()[pairs[:, 1]]
        firsts = np.full(n, n)
        np.minimum.at(firsts, pairs[:, 0], same)
        differ = np.zeros(n, dtype=bool)
        differ[pairs[same != firsts[pairs[:, 0]], 0]] = True  # rows at whose border not all are copies of one
        pairs = np.unique(np.sort(pairs[differ[pairs[:, 0]]], axis=1), axis=0)
        if len(pairs):
            raise ContestedError(torch.from_numpy(pairs).to(gram.device))
    return m


def nnm(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mixed messages `(n, d)` of `(n, d)`; raises `ValueError` unless 0 <= f < n / 2 and all is finite."""
    m = decided(messages, lambda gram, error: nnm_matrix(gram, num_byzantine, error))
    return m.to(messages.dtype) @ messages


@register("defense", "nnm")
class NNM(Mixing):
    """NNM before another rule, with the suite's assumed f; the mixed messages of f clients stay theirs."""

    version: ClassVar[int] = 2  # of rows that tie the first count

    rule: str = "trimmed_mean"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")
        super().start(setting)

    def mix(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return nnm_matrix(gram, num_byzantine)

    def mix_within(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return nnm_matrix(gram, num_byzantine, error)

    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        return nnm(messages, num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: NNM needs n > 2 f")
