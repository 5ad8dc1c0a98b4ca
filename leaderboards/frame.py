"""Records as a data frame, a row a record; and the choice of those that may stand side by side."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from bench.base.names import counted
from bench.records import Record
from bench.suite import Cell
from bench.suite.cell import KindName

CLEAN = "clean"
"""The column without an attack."""
ALONE = "dlg"
"""The attack of a server without colluders, whose columns stand before other attacks'."""
AUDITS = ("audit", "run_audit")
"""The attacks whose cells only defenses with a privacy claim have."""
LISTED = 5
"""The most names in a line about what is missing."""
WIDE = 8
"""Columns beyond which a table of long cells is split."""
Place = tuple[str | bool, ...]
ClaimPlace = tuple[str | float, ...]


@dataclass(frozen=True)
class Selection:
    """The records of one setting, and one line about each group that was left out.

    `wanted` is every (row, column) that the suite has, where it is known.
    """

    frame: pd.DataFrame
    records: list[Record]
    left_out: list[str]
    wanted: frozenset[tuple[str, str]] = frozenset()

    def rows(self, named: Iterable[str]) -> list[str]:
        """The rows that are present: first the named ones, in their order, then the others by age."""
        present = list(self.frame["defense"].unique())
        return [row for row in dict.fromkeys([*named, *present]) if row in present]

    def expects(self, row: str, column: str) -> bool:
        """Whether there should be records; in a row that the suite does not name, of all attacks but audits."""
        if any(row == named for named, _ in self.wanted):
            return (row, column) in self.wanted
        return attack_of(column) not in AUDITS and column not in self.evaluations

    @property
    def evaluations(self) -> frozenset[str]:
        """The columns that the suite has not: attacks that somebody ran against single rows."""
        known = {column for _, column in self.wanted}
        return frozenset(set(self.frame["column"]) - known) if known else frozenset()


FRAME = (
    *("suite", "setting", "defense", "attack", "column", "byzantine", "rho", "kind", "sweep", "images", "seed"),
    *("status", "error", "within_claim", "oracle_f", "round_seconds", "upload_bytes", "peer_bytes"),
    *("epsilon_claimed", "epsilon_composed", "epsilon_audited", "key"),
)
"""The columns that every frame has, also one without records; metrics come behind them."""


def to_frame(records: Iterable[Record]) -> pd.DataFrame:
    """One row a record: what met what, status, every metric, cost, and the epsilons."""
    rows = []
    records = list(records)
    claims = _claims(records)
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
                "kind": cell.kind,
                "sweep": cell.sweep,
                "images": float(cell.targets),
                "seed": record.seed,
                "status": record.status,
                "error": record.error,
                "within_claim": next((claims[place] for place in _claim_places(record) if place in claims), None),
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
    return pd.DataFrame(rows) if rows else pd.DataFrame(columns=list(FRAME))


def _claims(records: Iterable[Record]) -> dict[ClaimPlace, bool]:
    """Whether a row claims to stand a Byzantine fraction, by what of a record decides it; False where one says so."""
    results: dict[ClaimPlace, bool] = {}
    for record in records:
        if record.within_claim is not None:
            for place in _claim_places(record):
                results[place] = results.get(place, True) and record.within_claim
    return results


def _claim_places(record: Record) -> tuple[ClaimPlace, ...]:
    """The record alone; then the row at this fraction and seed, whose samples are the same; then at any seed.

    A record that broke off may not say whether it is within the claim, and others of its row do.
    """
    cell = record.cell
    row = (cell.label, cell.kind, cell.byzantine)
    return (*row, record.key), (*row, record.seed), row


def columns(frame: pd.DataFrame) -> list[str]:
    """The frame's columns in reading order: clean first, then the server alone, then by attack and strength."""
    result = frame[["attack", "sweep", "byzantine", "rho", "column"]].drop_duplicates("column")
    first = result["attack"].map({CLEAN: 0, ALONE: 1}).fillna(2)
    order = ["first", "attack", "sweep", "byzantine", "rho"]
    ordered = result.assign(first=first, sweep=result["sweep"].map(_natural)).sort_values(order, na_position="first")
    return list(ordered["column"])


def _natural(text: str) -> str:
    """Orders as numbers do where texts differ in a whole number: `batch_size=16` behind `batch_size=4`."""
    return re.sub(r"\d+", lambda digits: digits[0].zfill(12), text)


def attack_of(column: str) -> str:
    """The attack's name, with which a column begins."""
    return column.split(" ")[0]


def by_attack(columns: Iterable[str]) -> dict[str, list[str]]:
    """The columns of each attack, in their order."""
    results: dict[str, list[str]] = {}
    for column in columns:
        results.setdefault(attack_of(column), []).append(column)
    return results


def tables(columns: Sequence[str], most: int) -> list[list[str]]:
    """The columns in tables of at most so many, where that can be without splitting an attack's."""
    if len(columns) <= most:
        return [list(columns)]
    parts: list[list[str]] = [[]]
    for mine in by_attack(columns).values():
        if parts[-1] and len(parts[-1]) + len(mine) > most:
            parts.append([])
        parts[-1] += mine
    return parts


def select(
    records: Iterable[Record],
    setting: str | None = None,
    cells: Iterable[Cell] = (),
    seeds: Mapping[KindName, Collection[int]] | None = None,
) -> Selection:
    """The records of `setting`, by default that of the newest record; the others are counted, not mixed in.

    Of `seeds` by kind of cell, where they are given, only those count: a row with others would be a mean over other
    luck. A row is one defense and a column one attack, each with one choice of parameters: that of the suite's `cells`,
    or the newest where they do not name it. Records with other parameters are counted and left out, not mixed in.
    """
    cells = list(cells)
    everything = sorted(records, key=lambda record: (record.finished_at, record.key))
    if not everything:
        return Selection(to_frame([]), [], [])
    chosen = setting or everything[-1].setting
    others = Counter(record.setting for record in everything if record.setting != chosen)
    candidates = [record for record in everything if record.setting == chosen]
    left_out = [f"{counted(count, 'record')} of another setting ({name})" for name, count in others.items()]
    strange = [record for record in candidates if seeds is not None and record.seed not in seeds[record.cell.kind]]
    candidates = [record for record in candidates if seeds is None or record.seed in seeds[record.cell.kind]]
    if strange:
        left_out.append(
            f"{counted(len(strange), 'record')} of other seeds ({listed({record.seed for record in strange})})"
        )
    kept = _alike(candidates, cells)
    if unlike := len(candidates) - len(kept):
        left_out.append(f"{counted(unlike, 'record')} whose cell was run again or with other parameters")
    wanted = frozenset((cell.label, cell.column) for cell in cells)
    frame = to_frame(kept)
    left_out += _never_played({row for row, _ in wanted} - set(frame["defense"]), "rows")
    left_out += _never_played({column for _, column in wanted} - set(frame["column"]), "columns")
    return Selection(frame, kept, left_out, wanted)


def _never_played(names: set[str], what: str) -> list[str]:
    """One line about what the suite has and no record is of: a worst case is of the other columns alone."""
    what = what.removesuffix("s") if len(names) == 1 else what
    if not names:
        return []
    return [f"{len(names)} {what} of the suite without a record: {listed(names)}"]


def listed(names: Collection[str] | Collection[int]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f"{', '.join(map(str, sorted(names)[:LISTED]))}{more}"


def _alike(records: list[Record], cells: Iterable[Cell]) -> list[Record]:
    """Of records sorted by age, those that may stand in one table, one a cell and seed."""
    agreed: dict[Place, object] = {}
    for cell in (*(record.cell for record in records), *cells):
        agreed.update(_parameters(cell))
    alike = [record for record in records if _parameters(record.cell).items() <= agreed.items()]
    return list({record.key: record for record in alike}.values())


def _parameters(cell: Cell) -> dict[Place, object]:
    """What all cells of a row, all its trainings at a level, all seeds of a cell, and all cells of a column share."""
    return {
        ("defense", cell.label): cell.defense,
        ("federation", cell.label, cell.level, cell.kind == "training" or cell.column): (
            cell.federation,
            cell.targets,
            cell.trained,
        ),
        ("attack", cell.column): cell.attack,
        ("loaded", cell.label, cell.column): cell.loaded,
    }
