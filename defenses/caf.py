"""CAF, the covariance-bound agnostic filter (Allouah, Guerraoui and Stephan 2025, algorithm 2).

Rows lose weight by how far they stick out along the direction of largest variance, until no more than n - 2 f is left;
of all the weighted means on the way, the one with the smallest largest variance is taken. The largest eigenvalue of the
d x d covariance is that of an n x n matrix made of inner products.
"""

import numpy as np
import torch
from scipy.linalg import eigh
from torch import Tensor

from bench.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import RowRule, apply_weights, checked_gram
from bench.threads import blas_threads


def caf_weights(gram: Tensor, num_byzantine: int) -> Tensor:
    """Weights `(n,)` of the weighted mean whose covariance has the smallest norm met on the way; they sum to 1.

    A deviation is compared with the largest one among the rows that still count, so that each step rids itself of one.
    ByzFL takes the largest of all: a far-off row that is out already then all but stops the progress.
    """
    _check(len(gram), num_byzantine, "num_byzantine")
    with blas_threads(1):
        return torch.from_numpy(_filter(gram.cpu().numpy(), num_byzantine)).to(gram.device)


def _filter(g: np.ndarray, num_byzantine: int) -> np.ndarray:
    """The weights `(n,)`, on whatever threads there are."""
    n = len(g)
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
        kept = kept * (1 - deviations / deviations[kept > 0].max()).clip(min=0)
    return best


def caf(messages: Tensor, num_byzantine: int) -> Tensor:
    """The filtered mean `(d,)` of `(n, d)`.

    Raises `ValueError` unless 0 <= 2 f < n and the messages are finite.
    """
    return apply_weights(caf_weights(checked_gram(messages), num_byzantine), messages)


@register("defense", "caf")
class CAF(RowRule):
    """The covariance-bound agnostic filter with the suite's assumed f."""

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return caf_weights(gram, num_byzantine)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: CAF needs n > 2 f")
