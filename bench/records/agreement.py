"""A user's own records held against the published ones: how many agree, and how many of them bit for bit."""

import math
import warnings
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.records.comparison import numbers, shared
from bench.records.distribution import FALSE_ALARMS, margin_of, within_rounding
from bench.records.record import Record

Pair = tuple[Record, Record]
"""The published record of a cell and seed, and the user's own."""

CLOSE = "in distribution"
"""What is said of those that agree, but not bit for bit."""


@dataclass(frozen=True)
class Agreement:
    """Counts of the user's own records that have a published one, and the rows of those that do not agree with it."""

    bits: int
    close: int
    apart: int
    rows: tuple[str, ...] = ()

    @property
    def compared(self) -> int:
        return self.bits + self.close + self.apart

    def line(self, own: int, where: str) -> str:
        """In one line, of so many records of the user's own; `where` is the place of the published ones."""
        if not self.compared:
            return f"none of these {own} records has a published one in {where}"
        of = f"{self.compared}" if self.compared == own else f"{self.compared} (of {own})"
        rows = f" ({', '.join(self.rows)})" if self.rows else ""
        counts = f"{self.bits} agree bit for bit, {self.close} {CLOSE}, {self.apart} do not{rows}"
        return f"{of} {'record' if of == '1' else 'records'} against {where}: {counts}"


def agreement(published: Iterable[Record], own: Iterable[Record]) -> Agreement:
    """Each of the user's own records against the published one of its cell, seed and protocol; others do not count.

    Records of a cell that differ by more than rounding agree in distribution where Welch's t test cannot tell the means
    over seeds of anything that boards rank by apart, at `FALSE_ALARMS` for all cells together.
    """
    theirs = {(record.key, record.protocol): record for record in published}
    pairs = [(theirs[key], record) for record in own if (key := (record.key, record.protocol)) in theirs]
    bits, close, cells, grown = 0, 0, defaultdict[str, list[Pair]](list), defaultdict[str, int](int)
    for old, new in pairs:
        given, cell = (numbers(old), numbers(new)), new.cell.hash
        before, after = shared(*given), shared(*reversed(given))
        cells[cell].append((old, new))
        if before == after:
            bits += 1
        elif within_rounding(before, after):
            close += 1
        else:
            grown[cell] += 1
    apart: list[str] = []
    for cell, count in grown.items():
        if _alike(cells[cell], FALSE_ALARMS / len(grown)):
            close += count
        else:
            apart += [cells[cell][0][1].cell.label] * count
    return Agreement(bits, close, len(apart), tuple(dict.fromkeys(apart)))


def _alike(pairs: Sequence[Pair], alpha: float) -> bool:
    """Whether one cell's published seeds and own ones may be of one distribution, in all that boards rank by."""
    if len(pairs) < 2 or any(old.status != new.status for old, new in pairs):
        return False
    ranking = [name for name in pairs[0][0].metrics if margin_of(f"metrics.{name}") is not None]
    for name in ranking:
        old, new = ([record.metrics.get(name, math.nan) for record in side] for side in zip(*pairs, strict=True))
        if old != new and not _p_value(old, new) >= alpha / len(ranking):
            return False
    return True


def _p_value(old: Sequence[float], new: Sequence[float]) -> float:
    """That of Welch's t test; nan where neither side spreads."""
    from scipy import stats  # here, because loading it takes long

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of seeds that are alike but for their last digits
        return float(stats.ttest_ind(old, new, equal_var=False).pvalue)
