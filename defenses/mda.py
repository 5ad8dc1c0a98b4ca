"""Minimum-diameter averaging (El Mhamdi et al. 2020): the mean of the n - f messages that lie closest together.

Exact. A diameter is possible if all pairs farther apart than it can be broken up by leaving out f rows: a vertex cover
of f rows in the graph of far pairs. The smallest one is found by bisection over the pairwise distances, each cover by
branching on the row with most far pairs, once what is forced has been taken.
"""

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import ChoosingRule, apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, ContestedError, copies, decided, squared_distances

MAX_BRANCHES = 10**5
"""After so many branches the search is given up: some tens are common, but exponentially many in f possible."""


def mda_weights(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Weights `(n,)`: the mean over the subset of n - f rows of smallest diameter.

    Where several share it, the first in lexicographic order, as if all subsets had been gone through; diameters are
    one where they differ by no more than products of this relative error can. Raises `ContestedError` where that
    error is not float64's, and decides.
    """
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    distances = squared_distances(gram).cpu().numpy()
    norms = gram.diagonal().cpu().numpy()
    off = 2 * error * (norms[:, None] + norms)
    apart = distances - off
    work = iter(range(MAX_BRANCHES))
    candidates, places = np.unique(distances, return_index=True)
    limits = np.maximum.accumulate(candidates + off.flat[places])
    low, high = 0, len(candidates) - 1
    while low < high:
        middle = (low + high) // 2
        if _cover(_far(apart, limits[middle]), (1 << n) - 1, f, work) is None:
            low = middle + 1
        else:
            high = middle
    if error > DOUBLE_ERROR:
        _settle(gram, np.abs(distances - candidates[low]) <= off + off.flat[places[low]])
    kept = _first_subset(_far(apart, limits[low]), n, f, work)
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

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return mda_weights(gram, num_byzantine, error)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine


def _settle(gram: Tensor, tied: np.ndarray) -> None:
    """Raise `ContestedError` where more than one pair has the diameter, as `tied (n, n)` says, copies of rows aside."""
    pairs = np.argwhere(np.triu(tied, 1))
    if len(pairs) > 1:
        same = np.sort(copies(gram).cpu().numpy()[pairs], axis=1)
        if len(np.unique(same, axis=0)) > 1:
            raise ContestedError(torch.from_numpy(pairs).to(gram.device))


def _far(distances: np.ndarray, diameter: float) -> list[int]:
    """For each row the rows farther from it than `diameter`, a bit each."""
    packed = np.packbits(distances > diameter, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _cover(far: list[int], among: int, budget: int, work: Iterator[int]) -> int | None:
    """At most `budget` rows, a bit each, so that no far pair is left `among` the others; None where there are none."""
    if next(work, None) is None:
        raise ValueError(f"the search for the smallest diameter is not over after {MAX_BRANCHES:,} branches")
    taken = 0
    while True:
        degrees = {row: degree for row in _rows(among) if (degree := (far[row] & among).bit_count())}
        if not degrees:
            return taken
        worst = max(degrees, key=degrees.__getitem__)
        most = degrees[worst]
        if budget < 1 or (most <= budget and sum(degrees.values()) > 2 * budget * most):
            return None
        leaf = next((row for row, degree in degrees.items() if degree == 1), None)
        if most > budget or (most == 2 and leaf is None):  # forced, or any row of a cycle
            choice = 1 << worst
        elif leaf is not None:  # its only partner is at least as good
            choice = far[leaf] & among
        else:
            break
        taken, among, budget = taken | choice, among & ~choice, budget - 1
    for choice in (1 << worst, far[worst] & among):
        rest = _cover(far, among & ~choice, budget - choice.bit_count(), work)
        if rest is not None:
            return taken | choice | rest
    return None


def _first_subset(far: list[int], n: int, f: int, work: Iterator[int]) -> list[int]:
    """The lexicographically first n - f rows without a far pair; there are some."""
    among, budget = (1 << n) - 1, f
    kept: list[int] = []
    left_out = _cover(far, among, budget, work)
    assert left_out is not None
    for row in range(n):
        bit = 1 << row
        if not among & bit or len(kept) == n - f:
            continue
        if left_out & bit:  # may it stay after all?
            partners = far[row] & among
            rest = None
            if partners.bit_count() <= budget:
                rest = _cover(far, among & ~partners & ~bit, budget - partners.bit_count(), work)
            if rest is None:
                among, budget, left_out = among & ~bit, budget - 1, left_out & ~bit
                continue
            left_out = partners | rest
        kept.append(row)
        gone = far[row] & among
        among, budget, left_out = among & ~gone, budget - gone.bit_count(), left_out & ~gone
    return kept


def _rows(bits: int) -> Iterator[int]:
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: the smallest diameter needs n > 2 f")
