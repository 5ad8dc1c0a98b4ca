"""CAF, the covariance-bound agnostic filter (Allouah, Guerraoui and Stephan 2025, algorithm 2).

Rows lose weight by how far they stick out along the direction of largest variance, until no more than n - 2 f is left;
of all the weighted means on the way, the one with the smallest largest variance is taken. The largest eigenvalue of the
d x d covariance is that of an n x n matrix made of inner products.
"""

from typing import ClassVar

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from bench.base.errors import require
from bench.base.threads import blas_threads
from bench.protocol import Setting
from bench.registry import register
from bench.rules import ChoosingRule, apply_weights
from bench.rules.gram import DOUBLE_ERROR, ContestedError, check_square, copies, decided


def caf_weights(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Weights `(n,)` of the weighted mean whose covariance has the smallest norm met on the way; they sum to 1.

    A deviation is compared with the largest one among the rows that still count, so that each step rids itself of one.
    ByzFL takes the largest of all: a far-off row that is out already then all but stops the progress. Deviations are
    equal where they differ by no more than products of this relative error can; raises `ContestedError` where that
    error is not float64's, and decides.
    """
    check_square(gram)
    _check(len(gram), num_byzantine, "num_byzantine")
    same = copies(gram).cpu().numpy()
    with blas_threads(1):
        return torch.from_numpy(_filter(gram.cpu().numpy(), num_byzantine, error, same)).to(gram.device)


def _filter(g: np.ndarray, num_byzantine: int, error: float, same: np.ndarray) -> np.ndarray:
    """The weights `(n,)`, on whatever threads there are; `same (n,)` is the first row that each row equals."""
    n, norms = len(g), g.diagonal()
    kept, best, smallest = np.ones(n), np.full(n, 1 / n), np.inf
    while (total := kept.sum()) > n - 2 * num_byzantine:
        weights: np.ndarray = kept / total
        products = g @ weights
        centred = g - products[:, None] - products[None, :] + weights @ products
        root = np.sqrt(weights)
        values, vectors = eigh(root[:, None] * centred * root, subset_by_index=[n - 1, n - 1])
        if values[0] <= 0:  # the rows that count are all the same
            return weights
        if values[0] < smallest:
            best, smallest = weights, values[0]
        deviations = (centred @ (root * vectors[:, 0])) ** 2
        farthest = np.argmax(np.where(kept > 0, deviations, -1.0))
        away = deviations / deviations[farthest]
        lengths = norms + weights @ norms  # squared, about the weighted mean, at most
        off = 4 * error * np.sqrt(lengths * (weights @ lengths) / deviations[farthest])  # of a projection, twice
        equal = away >= 1 - off - off[farthest]
        if error > DOUBLE_ERROR and (same[equal & (kept > 0)] != same[farthest]).any():
            raise ContestedError
        kept = np.where(equal, 0.0, kept * (1 - away).clip(min=0))
    return best


def caf(messages: Tensor, num_byzantine: int) -> Tensor:
    """The filtered mean `(d,)` of `(n, d)`.

    Raises `ValueError` unless 0 <= 2 f < n and the messages are finite.
    """
    weights = decided(messages, lambda gram, error: caf_weights(gram, num_byzantine, error))
    return apply_weights(weights, messages)


@register("defense", "caf")
class CAF(ChoosingRule):
    """The covariance-bound agnostic filter with the suite's assumed f."""

    version: ClassVar[int] = 2  # 1 let rounding keep some of the rows that share the largest deviation
    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return caf_weights(gram, num_byzantine, error)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: CAF needs n > 2 f")
