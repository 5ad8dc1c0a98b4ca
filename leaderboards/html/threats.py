"""The threat models of a leaderboard, and what the page's filter chooses them by."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.records import Record
from leaderboards.frame import columns, to_frame

KINDS = {"training": "accuracy under attack", "inversion": "images recovered", "audit": "audit of the claim"}
"""What a kind of cell measures, for people."""


@dataclass(frozen=True)
class Threat:
    """A column: `b` only where clients forge, `rho` only where the server looks."""

    column: str
    kind: str
    attack: str
    b: float | None
    rho: float | None

    @property
    def what(self) -> str:
        """What distinguishes it from the other columns of its attack."""
        return self.column.removeprefix(self.attack).strip()


@dataclass(frozen=True)
class Choices:
    """What each filter offers."""

    kinds: dict[str, str]
    attacks: Sequence[str]
    bs: Sequence[float]
    rhos: Sequence[float]


def threats(records: Sequence[Record]) -> dict[str, Threat]:
    """By column, in reading order; those of training first, audits last."""
    if not records:
        return {}
    cells = {record.cell.column: record.cell for record in records}
    frame = to_frame(records)
    ordered = [column for kind in KINDS for column in columns(frame[frame["kind"] == kind])]
    found = {}
    for column in ordered:
        cell = cells[column]
        forging = cell.kind == "training"
        b, rho = (cell.byzantine, None) if forging else (None, cell.rho or 0.0)
        found[column] = Threat(column, cell.kind, cell.attack_name, b, rho)
    return found


def choices(found: Iterable[Threat]) -> Choices:
    """Every value that at least one threat model has."""
    some = list(found)
    kinds = {threat.kind for threat in some}
    return Choices(
        kinds={kind: words for kind, words in KINDS.items() if kind in kinds},
        attacks=list(dict.fromkeys(threat.attack for threat in some)),
        bs=sorted({threat.b for threat in some if threat.b is not None}),
        rhos=sorted({threat.rho for threat in some if threat.rho is not None}),
    )
