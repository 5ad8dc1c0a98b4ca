"""Minimum-diameter averaging (El Mhamdi et al. 2020): the mean of the n - f messages that lie closest together.

Exact. A diameter is possible if all pairs farther apart than it can be broken up by leaving out f rows: a vertex cover
of f rows in the graph of far pairs (`bench.rules.covers`). The smallest one is found by bisection over the pairwise
distances.
"""

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import ChoosingRule, apply_weights, mean_of
from bench.rules.covers import cover, far_pairs, first_subset, limited
from bench.rules.gram import DOUBLE_ERROR, ContestedError, check_square, copies, decided, squared_distances


def mda_weights(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Weights `(n,)`: the mean over the subset of n - f rows of smallest diameter.

    Where several share it, the first in lexicographic order, as if all subsets had been gone through; diameters are
    one where they differ by no more than products of this relative error can. Raises `ContestedError` where that
    error is not float64's, and decides.
    """
    check_square(gram)
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    distances = squared_distances(gram).cpu().numpy()
    norms = gram.diagonal().cpu().numpy()
    off = 2 * error * (norms[:, None] + norms)
    apart = distances - off
    work = limited()
    candidates, places = np.unique(distances, return_index=True)
    limits = np.maximum.accumulate(candidates + off.flat[places])
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if cover(far_pairs(apart, limits[middle]), (1 << n) - 1, f, work) is None:
            low = middle + 1
        else:
            high = middle
    if error > DOUBLE_ERROR:
        _settle(gram, np.abs(distances - candidates[low]) <= off + off.flat[places[low]])
    kept = first_subset(far_pairs(apart, limits[low]), n, f, work)
    return mean_of(torch.tensor(kept, device=gram.device), n)


def mda(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mean `(d,)` of the n - f rows of `(n, d)` with the smallest diameter.

    Raises `ValueError` unless 0 <= 2 f < n and the messages are finite, or where the search would not end.
    """
    weights = decided(messages, lambda gram, error: mda_weights(gram, num_byzantine, error))
    return apply_weights(weights, messages)


@register("defense", "mda")
class MDA(ChoosingRule):
    """Minimum-diameter averaging with the suite's assumed f."""

    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return mda_weights(gram, num_byzantine, error)


def _settle(gram: Tensor, tied: np.ndarray) -> None:
    """Raise `ContestedError` where more than one pair has the diameter, as `tied (n, n)` says, copies of rows aside."""
    pairs = np.argwhere(np.triu(tied, 1))
    if len(pairs) > 1:
        same = np.sort(copies(gram).cpu().numpy()[pairs], axis=1)
        if len(np.unique(same, axis=0)) > 1:
            raise ContestedError(torch.from_numpy(pairs).to(gram.device))


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: the smallest diameter needs n > 2 f")
