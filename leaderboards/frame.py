"""Records as a data frame, a row a record; and the choice of those that may stand side by side."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pandas as pd

from bench.records import Record


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


def select(records: Iterable[Record], setting: str | None = None) -> Selection:
    """The records of `setting`, by default that of the newest record; the others are counted, not mixed in.

    Where a (row, column, seed) has several records of one setting (a defense's parameters were changed), the newest
    counts.
    """
    everything = sorted(records, key=lambda record: record.finished_at)
    if not everything:
        return Selection(to_frame([]), [], [])
    chosen = setting or everything[-1].setting
    newest: dict[tuple[str, str, int], Record] = {}
    older = 0
    for record in everything:
        if record.setting == chosen:
            place = (record.cell.label, record.cell.column, record.seed)
            older += place in newest
            newest[place] = record
    others = Counter(record.setting for record in everything if record.setting != chosen)
    left_out = [f"{count} records of another setting ({name})" for name, count in others.items()]
    if older:
        left_out.append(f"{older} records whose cell was run again with other parameters")
    kept = list(newest.values())
    return Selection(to_frame(kept), kept, left_out)
