"""What grows with rho: the columns of one attack, from the server alone to all others colluding with it."""

from collections.abc import Iterable, Sequence

from bench.records import Record
from bench.suite import Cell
from leaderboards.frame import ALONE

Sweep = dict[float, str]
"""Columns by rho, in its order."""


def family(cell: Cell) -> str:
    """The attack and what tells it from the suite's others, without rho."""
    return f"{cell.attack_name} {cell.sweep}".strip()


def families(records: Iterable[Record], columns: Sequence[str]) -> dict[str, Sweep]:
    """The columns of each family of inversions; the server alone is rho = 0 of every attack that it is a part of."""
    cells = {(record.cell.column, record.cell.label): record.cell for record in records if record.cell.is_privacy}
    results: dict[str, Sweep] = {}
    for cell in sorted(cells.values(), key=lambda cell: columns.index(cell.column)):
        results.setdefault(family(cell), {})[cell.rho or 0.0] = cell.column
    for one in cells.values():
        for other in cells.values():
            if one.rho and _alone(other, one):
                results[family(one)].setdefault(0.0, other.column)
    return {name: dict(sorted(sweep.items())) for name, sweep in results.items()}


def colluding(found: dict[str, Sweep]) -> dict[str, Sweep]:
    """Those with more than one rho."""
    return {name: sweep for name, sweep in found.items() if len(sweep) > 1}


def _alone(one: Cell, other: Cell) -> bool:
    """Whether `one` is what `other` is without its colluders, on the same targets."""
    assert one.attack is not None
    assert other.attack is not None
    return (
        one.attack_name == ALONE
        and one.attack.parameters.items() <= other.attack.parameters.items()
        and (one.label, one.federation, one.targets, one.trained)
        == (other.label, other.federation, other.targets, other.trained)
    )
