"""Subsets of rows without a far pair, exactly: what is left out is a vertex cover of the graph of far pairs.

Each cover is searched for by branching on the row with most far pairs, once what is forced has been taken.
"""

from collections.abc import Iterator

import numpy as np

MAX_BRANCHES = 10**5
"""After so many branches the search is given up: some tens are common, but exponentially many in f possible."""


def limited() -> Iterator[int]:
    """The branches that a search may take."""
    return iter(range(MAX_BRANCHES))


def far_pairs(distances: np.ndarray, diameter: float) -> list[int]:
    """For each row the rows farther from it than `diameter`, a bit each."""
    packed = np.packbits(distances > diameter, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def cover(far: list[int], among: int, budget: int, work: Iterator[int]) -> int | None:
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
        rest = cover(far, among & ~choice, budget - choice.bit_count(), work)
        if rest is not None:
            return taken | choice | rest
    return None


def first_subset(far: list[int], n: int, f: int, work: Iterator[int]) -> list[int]:
    """The lexicographically first n - f rows without a far pair; there are some."""
    among, budget = (1 << n) - 1, f
    kept: list[int] = []
    left_out = cover(far, among, budget, work)
    assert left_out is not None
    for row in range(n):
        bit = 1 << row
        if not among & bit or len(kept) == n - f:
            continue
        if left_out & bit:  # may it stay after all?
            partners = far[row] & among
            rest = None
            if partners.bit_count() <= budget:
                rest = cover(far, among & ~partners & ~bit, budget - partners.bit_count(), work)
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
