"""Records as a data frame, a row a record; and the choice of those that may stand side by side."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from bench.records import Record
from bench.suite import Cell

CLEAN = "clean"
"""The column without an attack."""
Place = tuple[str | bool, ...]


@dataclass(frozen=True)
class Selection:
    """The records of one setting, and one line about each group that was left out."""

    frame: pd.DataFrame
    records: list[Record]
    left_out: list[str]


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record: what met what, status, every metric, cost, and the epsilons."""
    rows = []
    for record in records:
        cell, privacy, cost = record.cell, record.privacy, record.cost
        rows.append(
            {
                "suite": record.suite,
                "setting": record.setting,
                "defense": cell.label,
                "attack": cell.attack_name,
                "column": cell.column,
                "byzantine": cell.byzantine,
                "rho": cell.rho,
                "privacy_cell": cell.is_privacy,
                "seed": record.seed,
                "status": record.status,
                "error": record.error,
                "within_claim": record.within_claim,
                "oracle_f": cell.federation.oracle_f,
                "round_seconds": cost.round_seconds,
                "upload_bytes": cost.upload_bytes,
                "peer_bytes": cost.peer_bytes,
                "epsilon_claimed": privacy.claimed.epsilon if privacy.claimed else None,
                "epsilon_composed": privacy.composed.epsilon if privacy.composed else None,
                "epsilon_audited": privacy.audited.epsilon if privacy.audited else None,
                "key": record.key,
                **record.metrics,
            }
        )
    return pd.DataFrame(rows)


def columns(frame: pd.DataFrame) -> list[str]:
    """The frame's columns in reading order: clean first, then the server alone, then by attack and strength."""
    found = frame[["attack", "byzantine", "rho", "column"]].drop_duplicates("column")
    first = found["attack"].map({CLEAN: 0, "dlg": 1}).fillna(2)
    ordered = found.assign(first=first).sort_values(["first", "attack", "byzantine", "rho"], na_position="first")
    return list(ordered["column"])


def select(records: Iterable[Record], setting: str | None = None, cells: Iterable[Cell] = ()) -> Selection:
    """The records of `setting`, by default that of the newest record; the others are counted, not mixed in.

    A row is one defense and a column one attack, each with one choice of parameters: that of the suite's `cells`, or
    the newest where they do not name it. Records with other parameters are counted and left out, not mixed in.
    """
    everything = sorted(records, key=lambda record: (record.finished_at, record.key))
    if not everything:
        return Selection(to_frame([]), [], [])
    chosen = setting or everything[-1].setting
    others = Counter(record.setting for record in everything if record.setting != chosen)
    candidates = [record for record in everything if record.setting == chosen]
    kept = _alike(candidates, cells)
    left_out = [f"{count} records of another setting ({name})" for name, count in others.items()]
    if unlike := len(candidates) - len(kept):
        left_out.append(f"{unlike} records whose cell was run again or with other parameters")
    return Selection(to_frame(kept), kept, left_out)


def _alike(records: list[Record], cells: Iterable[Cell]) -> list[Record]:
    """Of records sorted by age, those that may stand in one table, one a cell and seed."""
    agreed: dict[Place, object] = {}
    for cell in (*(record.cell for record in records), *cells):
        agreed.update(_parameters(cell))
    alike = [record for record in records if _parameters(record.cell).items() <= agreed.items()]
    return list({record.key: record for record in alike}.values())


def _parameters(cell: Cell) -> dict[Place, object]:
    """What all cells of a row, all cells of one kind in a row, and all cells of a column have in common."""
    return {
        ("defense", cell.label): cell.defense,
        ("federation", cell.label, cell.is_privacy): cell.federation,
        ("attack", cell.column): cell.attack,
    }
