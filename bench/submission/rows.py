"""The rows of a suite that an attack is run against: shipped ones, and those that others have submitted."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import registry
from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.protocol import Alphabet
from bench.records import Store
from bench.records.submissions import NAME, Submission
from bench.submission import folder as folders
from bench.suite import Suite


@dataclass(frozen=True)
class Row:
    """A row's label, its folder, and its submission where it is no shipped one."""

    label: str
    folder: Path
    alphabet: Alphabet
    submission: Submission | None = None


def find_rows(labels: Iterable[str], suite: Suite, store: Store) -> list[Row]:
    """The rows of these labels; `BadInputError` with the nearest ones where there is none of a label."""
    shipped = _shipped(suite, store)
    return [shipped.get(label) or _submitted(label, suite, store, shipped) for label in labels]


def alphabets(rows: Iterable[Row]) -> tuple[Alphabet, ...]:
    """What messages to these rows may hold; real ones where there is no row."""
    return tuple(dict.fromkeys(row.alphabet for row in rows)) or (Alphabet.REAL,)


def _shipped(suite: Suite, store: Store) -> dict[str, Row]:
    results: dict[str, Row] = {}
    for cell in suite.cells():
        alphabet = registry.get("defense", cell.defense.name).alphabet  # type: ignore[attr-defined]
        results.setdefault(cell.label, Row(cell.label, store.path(cell, 0).parents[1], alphabet))
    return results


def _submitted(label: str, suite: Suite, store: Store, shipped: Iterable[str]) -> Row:
    """Its class is not loaded in this process: where its alphabet is another one, the engine rounds into that."""
    submission = folders.load(store.folder / label) if NAME.fullmatch(label) else None
    if submission is None or submission.kind != "defense":
        others = [place.parent.name for place in store.folder.glob(f"*/{folders.FILE}")]
        raise BadInputError(unknown(f"row in suite {suite.name!r}", label, [*shipped, *others]))
    return Row(label, store.folder / label, Alphabet.REAL, submission)
