"""The evidence for a card: its own records, seed by seed, and what published boards have against its rule."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.records import Record, Store, contents, protocol_hash
from bench.reproduce.cards.card import Card, Metric, Statement, Term, Withstands
from bench.reproduce.cards.judge import Judged, Measured, Refutation, judge
from bench.runs import places
from bench.suite import Cell
from bench.suite.cell import CLEAN
from leaderboards.estimates import of_values

BOARDS = ("siege", "field", "field-mnist")
"""The published boards that may refute a card, in the order in which they are asked."""
LEAST_SEEDS = 3
"""Of a published cell that may refute a card."""

Place = tuple[str, str]
"""Row and column."""


@dataclass(frozen=True)
class Evidence:
    """A card, its cells, and their records by place and seed; those of another protocol are left out."""

    card: Card
    cells: tuple[Cell, ...]
    records: dict[Place, dict[int, Record]]

    @property
    def missing(self) -> int:
        """(cell, seed) without a record."""
        suite = self.card.cells_suite
        return sum(len(set(suite.seeds_for(cell)) - set(self.records[_place(cell)])) for cell in self.cells)

    @property
    def environments(self) -> set[str]:
        """Commit, torch and machine of the records."""
        results = [record.environment for some in self.records.values() for record in some.values()]
        return {f"commit {one.commit or 'none'}, torch {one.torch}, {one.cpu or one.machine}" for one in results}

    def measured(self) -> list[Measured] | None:
        """Every statement's differences; None while a record is missing."""
        return None if self.missing else [self._measure(statement) for statement in self.card.statement]

    def _measure(self, statement: Statement) -> Measured:
        values, failed = [], 0
        for seed in self.card.cells_suite.seeds:
            left = self._value(statement.left, statement.metric, seed)
            right = 0.0 if statement.right is None else self._value(statement.right, statement.metric, seed)
            if left is None or right is None:
                failed += 1
            else:
                values.append(left - right)
        return Measured(statement, tuple(values), failed)

    def _value(self, term: Term, metric: Metric, seed: int) -> float | None:
        """The term's number in one seed; None where a run failed."""
        results = [value_of(self.records[term.row, column][seed], metric) for column in term.column]
        known = [value for value in results if value is not None]
        if len(known) < len(results):
            return None
        return term.times * (max(known) if metric == "backdoor_success" else min(known))


def value_of(record: Record, metric: Metric) -> float | None:
    """The record's metric; 0 for the accuracy of a run that diverged, None for any other that did not finish."""
    if record.status == "ok":
        return record.metrics.get(metric)
    return 0.0 if record.status == "diverged" and metric != "backdoor_success" else None


def collect(card: Card, results: Path) -> Evidence:
    """The records that there are of a card's cells; `BadInputError` where it names a cell that it does not have."""
    cells = tuple(cells_of(card))
    store = Store(results, card.cells_suite.name)
    result: dict[Place, dict[int, Record]] = {_place(cell): {} for cell in cells}
    by_hash = {cell.hash: _place(cell) for cell in cells}
    for record in contents(store.folder).records.values():
        place = by_hash.get(record.cell.hash)
        psnr = card.cells_suite.ranking.recovered_psnr
        if place is not None and record.protocol == protocol_hash(record.cell, record.data_digest, psnr):
            result[place][record.seed] = record
    return Evidence(card, cells, result)


def cells_of(card: Card) -> list[Cell]:
    """The card's cells that its statements name: the others of its suite judge nothing, and are not played.

    Raises `BadInputError` where it names one that the suite does not have.
    """
    cells = card.cells_suite.cells()
    known: dict[str, set[str]] = {}
    for cell in cells:
        known.setdefault(cell.label, set()).add(cell.column)
    terms = [term for one in card.statement for term in (one.left, one.right) if term is not None]
    named = {(term.row, column) for term in terms for column in term.column}
    rows = [term.row for term in terms] + ([card.withstands.row] if card.withstands else [])
    for row in rows:
        if row not in known:
            raise BadInputError(f"claim card {card.name}: {unknown('row', row, known)}")
    for row, column in sorted(named):
        if column not in known[row]:
            raise BadInputError(f"claim card {card.name}: {unknown('column', column, known[row])}")
    if card.withstands and card.withstands.row not in {row for row, _ in named}:
        raise BadInputError(f"claim card {card.name}: withstands.row {card.withstands.row!r} is in no statement")
    return [cell for cell in cells if _place(cell) in named]


@dataclass(frozen=True)
class Found:
    """A card, the verdict on it, and its evidence where it is one to be played; `measured` is empty without it."""

    card: Card
    judged: Judged
    evidence: Evidence | None = None
    measured: tuple[Measured, ...] = ()


def find(card: Card, results: Path) -> Found:
    """The verdict on a card from the records below `results`."""
    if not card.is_played:
        return Found(card, judge(card, None))
    evidence = collect(card, results)
    measured = evidence.measured()
    refuted = None if card.withstands is None else refutation(evidence, card.withstands, results)
    return Found(card, judge(card, measured, refuted), evidence, tuple(measured or ()))


def refutation(evidence: Evidence, claim: Withstands, results: Path) -> Refutation | None:
    """The published cell that leaves the least of the rule, of those that break it; None where none does.

    Boards are read below `results`, or from what is published where they are not there.
    """
    rules = {(cell.defense.name, str(cell.defense.parameters)) for cell in evidence.cells if cell.label == claim.row}
    result = []
    for board in BOARDS:
        folder = results if places.has_records(results, board) else places.published(board)
        if folder is None:
            continue
        mine = {
            path: one
            for path, one in _board(folder / board).items()
            if one.cell.kind == "training" and (one.cell.defense.name, str(one.cell.defense.parameters)) in rules
        }
        result += [one for one in _broken(mine, board, folder, claim) if one is not None]
    return min(result, key=lambda one: one.left / one.clean, default=None)


@cache
def _board(folder: Path) -> dict[Path, Record]:
    """The records of a board, read once for all cards."""
    return contents(folder).records


def _broken(records: dict[Path, Record], board: str, folder: Path, claim: Withstands) -> Iterable[Refutation | None]:
    """What each column of one rule on one board has against the claim."""
    clean = {record.seed: record for record in records.values() if record.cell.column == CLEAN}
    columns = dict.fromkeys(record.cell.column for record in records.values() if _is_comparable(record, claim))
    for column in columns:
        some = {path: record for path, record in records.items() if record.cell.column == column}
        pairs = [
            (value_of(one, "accuracy"), value_of(clean[one.seed], "accuracy"))
            for one in some.values()
            if one.seed in clean
        ]
        values = [(left, right) for left, right in pairs if left is not None and right is not None]
        if len(values) < max(LEAST_SEEDS, len(some)):
            continue
        lost = of_values(np.array([left - claim.keeps * right for left, right in values]), "difference")
        if lost.ends[1] < 0:
            left, right = (float(np.mean(side)) for side in zip(*values, strict=True))
            yield Refutation(column, board, str(min(some).relative_to(folder)), left, right)


def _is_comparable(record: Record, claim: Withstands) -> bool:
    """Whether the claim says that the rule withstands this attack; see `judge.RULE`."""
    cell = record.cell
    in_class = not claim.attacks or cell.attack_name in claim.attacks
    alike = cell.federation.partition == "iid" or not claim.iid
    return 0 < cell.byzantine <= claim.byzantine and in_class and alike and record.within_claim is not False


def _place(cell: Cell) -> Place:
    return cell.label, cell.column
