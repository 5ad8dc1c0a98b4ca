"""SMEA (Allouah et al. 2023): the mean of the n - f messages whose covariance has the smallest norm.

The paper is "On the privacy-robustness-utility trilemma in distributed learning" (arXiv 2302.04787).

Exact: a few power steps on all subsets at once bound each one's largest eigenvalue from below; the eigenvalues are then
computed for the subsets whose bound is not above the best one. Nothing is drawn at random.
"""

import math
from itertools import chain, combinations

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import require
from bench.base.threads import blas_threads
from bench.protocol import Setting
from bench.registry import register
from bench.rules import ChoosingRule, apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, ContestedError, check_square, copies, decided
from bench.rules.scatters import largest_eigenvalues, lower_bounds

MAX_SUBSETS = 2**20
"""Subsets that are gone through in seconds."""

FIRST_TRIED = 16
"""Subsets of lowest bound whose eigenvalues are computed first, for a best one to compare the others with."""


def smea_weights(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Weights `(n,)`: the mean over the subset of n - f rows whose scatter has the smallest largest eigenvalue.

    Where several share it, the first in lexicographic order; eigenvalues are equal where they differ by no more than
    products of this relative error can. Raises `ContestedError` where that error is not float64's, and decides.
    """
    check_square(gram)
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    g = gram.cpu().numpy()
    left_out = np.fromiter(chain.from_iterable(combinations(range(n), f)), dtype=np.intp).reshape(math.comb(n, f), f)
    left_out = left_out[::-1]
    member = np.ones((len(left_out), n))  # in lexicographic order of the rows that are left
    np.put_along_axis(member, left_out, 0.0, axis=1)
    with blas_threads(1):
        bounds = lower_bounds(g, member)
        off = 4 * error * (member @ g.diagonal())  # of a scatter's eigenvalue, by the norm of the scatter's own error
        tried = bounds.argsort(kind="stable")[:FIRST_TRIED]
        best = (largest_eigenvalues(g, member[tried]) + off[tried]).min()
        open_still = np.flatnonzero(bounds - off <= best)
        exact = largest_eigenvalues(g, member[open_still])
    equal = open_still[exact - off[open_still] <= (exact + off[open_still]).min()]
    if error > DOUBLE_ERROR and len(equal) > 1:
        rows = copies(gram).cpu().numpy()[np.nonzero(member[equal])[1]].reshape(len(equal), n - f)
        if len(np.unique(np.sort(rows, axis=1), axis=0)) > 1:
            raise ContestedError
    return mean_of(torch.from_numpy(np.flatnonzero(member[equal[0]])).to(gram.device), n)


def smea(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mean `(d,)` of the n - f rows of `(n, d)` whose covariance has the smallest largest eigenvalue.

    Raises `ValueError` unless 0 <= 2 f < n, the messages are finite and there are at most 2^20 subsets.
    """
    weights = decided(messages, lambda gram, error: smea_weights(gram, num_byzantine, error))
    return apply_weights(weights, messages)


@register("defense", "smea")
class SMEA(ChoosingRule):
    """Smallest maximum eigenvalue averaging with the suite's assumed f; for few clients."""

    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return smea_weights(gram, num_byzantine, error)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: SMEA needs n > 2 f")
    subsets = math.comb(n, f)
    wanted = f"small enough for {MAX_SUBSETS:,} subsets of {n} rows: there are {subsets:,}"
    require(subsets <= MAX_SUBSETS, argument, f, wanted)
