"""From a suite to its cells: rows, sweeps, and what each attack makes of a row."""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from typing import TYPE_CHECKING

from bench import registry
from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.suite import kinds
from bench.suite.cell import CLEAN, Cell, Parameters, Part, sourced
from bench.suite.entries import AttackEntry, DefenseEntry
from bench.suite.factors import Level, levels
from bench.suite.meeting import Meeting, federation_of, make_part, sweep

if TYPE_CHECKING:
    from bench.suite.schema import Suite

Row = tuple[str, Part, Parameters]
"""Its label, its defense, and what it changes in the federation."""


def expand(suite: "Suite", defenses: Iterable[str], attacks: Iterable[str]) -> list[Cell]:
    """The cells of the named defenses (rows) and attacks, or of all; `BadInputError` for a name that is none."""
    rows = [row for entry in suite.defense for row in _rows(entry)]
    known_rows = {row[0] for row in rows} | {entry.name for entry in suite.defense}
    known_attacks = {entry.name for entry in suite.attack} | ({CLEAN} if suite.training else set())
    wanted_rows, wanted_attacks = _asked_for(defenses, known_rows), _asked_for(attacks, known_attacks)
    for name in wanted_rows - known_rows:
        raise BadInputError(unknown(f"defense in suite {suite.name!r}", name, [row[0] for row in rows]))
    for name in wanted_attacks - known_attacks:
        raise BadInputError(unknown(f"attack in suite {suite.name!r}", name, known_attacks))
    rows = [row for row in rows if not wanted_rows or wanted_rows & {row[0], row[1].name}]
    cells = _crossed(suite, rows, wanted_attacks)
    known = {cell.hash for cell in cells} if suite.factor else set()
    for level in levels(suite):
        result = _at(suite, level, rows, wanted_attacks, known)
        known |= {cell.hash for cell in result}  # two levels may share their clean runs
        cells += result
    _check_places(suite, cells)
    return cells


def _crossed(suite: "Suite", rows: Iterable[Row], attacks: Collection[str]) -> list[Cell]:
    """The cells of these rows, and of the attacks that are named, or of all."""
    cells: list[Cell] = []
    for row in rows:
        result = [_clean(suite, row)] if suite.training else []
        for entry in suite.attack:
            if not attacks or entry.name in attacks:
                result += _meetings(suite, row, entry)
        cells += map(sourced, result)
    return cells


def _at(
    suite: "Suite", level: Level, rows: Iterable[Row], attacks: Collection[str], known: Collection[str]
) -> list[Cell]:
    """The cells of a level, but for those whose hashes are `known`: what a factor does not change is played once."""
    where = f"factor {level.factor!r} at {level.name}"
    for entry in suite.attack:
        if (kind := kinds.of_attack(registry.get("attack", entry.name)).name) != "training":
            text = f"{where}: factors are of trainings, but attack {entry.name!r} is of the kind {kind}"
            raise BadInputError(f"suite {suite.name!r}, {text}")
    entries = suite.attack
    if level.byzantine is not None:
        entries = tuple(entry.model_copy(update={"byzantine": (level.byzantine,)}) for entry in entries)
    federation = federation_of(suite, where, level.federation)
    changed = suite.model_copy(update={"federation": federation, "attack": entries})
    cells = _crossed(changed, [row for row in rows if row[0] not in level.without], attacks)
    return [cell.model_copy(update={"level": level.label}) for cell in cells if cell.hash not in known]


def _check_places(suite: "Suite", cells: Iterable[Cell]) -> None:
    """Refuse two cells in one place of a board, be they the same."""
    for (row, column), count in Counter((cell.label, cell.column) for cell in cells).items():
        if count > 1:
            raise BadInputError(
                f"suite {suite.name!r}: row {row!r} x {column!r} stands there twice: take one out, "
                "give a defense another label, or make an attack's parameter a list"
            )


def _rows(entry: DefenseEntry) -> Iterator[Row]:
    """One row, or one for every value of its sweeps."""
    for point, swept in sweep(f"defense {entry.name!r}", entry.parameters):
        label = entry.label or entry.name
        if swept:
            label += f" ({', '.join(f'{key}={point[key]}' for key in swept)})"
        yield label, make_part("defense", entry.name, point), entry.federation


def _clean(suite: "Suite", row: Row) -> Cell:
    label, defense, overrides = row
    return Cell(label=label, defense=defense, attack=None, federation=federation_of(suite, label, overrides))


def _meetings(suite: "Suite", row: Row, entry: AttackEntry) -> Iterator[Cell]:
    """The cells of one row and one attack, of the kind that the attack's class makes."""
    kind = kinds.of_attack(registry.get("attack", entry.name))
    try:
        kind.check(entry)
    except ValueError as error:
        raise BadInputError(f"suite {suite.name!r}: attack {entry.name!r} {error}") from None
    label, defense, overrides = row
    for point, swept in sweep(f"attack {entry.name!r}", entry.parameters):
        attack = make_part("attack", entry.name, point)
        told = [f"{key}={point[key]}" for key in swept if key != "rho"]
        yield from kind.cells(Meeting(suite, label, defense, overrides, attack, told), entry)


def _asked_for(names: Iterable[str], known: Collection[str]) -> set[str]:
    """The names, one for each; what is no name is a list of them where one of its parts is (labels may have commas)."""
    results = set[str]()
    for name in [names] if isinstance(names, str) else names:
        parts = {part.strip() for part in name.split(",")}
        results |= parts if name not in known and parts & set(known) else {name}
    return results
