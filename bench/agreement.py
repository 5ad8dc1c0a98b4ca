"""A user's own records held against the published ones: how many agree, and how many of them bit for bit."""

from collections.abc import Iterable
from dataclasses import dataclass

from bench.perf.accuracy import differing, numbers
from bench.records import Record

CLOSE = "within the tolerances of another machine"
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
        return f"{of} records against {where}: {counts}"


def agreement(published: Iterable[Record], own: Iterable[Record]) -> Agreement:
    """Each of the user's own records against the published one of its cell, seed and protocol; others do not count."""
    theirs = {(record.key, record.protocol): record for record in published}
    bits, close, apart = 0, 0, list[str]()
    for record in own:
        if (other := theirs.get((record.key, record.protocol))) is None:
            continue
        before, after = numbers(other), numbers(record)
        if before == after:
            bits += 1
        elif any(differing(before, after, exact=False)):
            apart.append(record.cell.label)
        else:
            close += 1
    return Agreement(bits, close, len(apart), tuple(dict.fromkeys(apart)))
