"""The smoke suite's numbers against the committed ones: the same bits on one class of machine, close on any other."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.base.errors import BadInputError
from bench.records import Record, Store
from bench.records.comparison import differing, numbers, same_bits
from bench.records.submissions import FILE as SUBMISSION
from bench.runs.jobs import run_suite

SUITE = "smoke"


@dataclass(frozen=True)
class Difference:
    """One field of one record that is not what was committed; None is a field, or a record, that is not there."""

    record: str
    field: str
    committed: Any
    found: Any

    def __str__(self) -> str:
        return f"{self.record}: {self.field} was {self.committed!r}, is {self.found!r}"


@dataclass(frozen=True)
class Check:
    """What the check found, over how many records, of which so many were made on this class of machine."""

    differences: list[Difference]
    records: int
    same_machine: int

    @property
    def failed(self) -> bool:
        return bool(self.differences)

    def as_dict(self) -> dict[str, Any]:
        differences = [asdict(difference) for difference in self.differences]
        return {"records": self.records, "same_machine": self.same_machine, "differences": differences}

    def print(self) -> None:
        for difference in self.differences:
            print(difference)
        count = len(self.differences)
        result = f"{count or 'no'} difference{'' if count == 1 else 's'}"
        print(f"{result} over {self.records} records of the suite {SUITE}, {self.same_machine} compared bit for bit")
        if self.failed:
            again = f"python -m bench run --suite {SUITE} --results results --fresh"
            print(f"if that is meant: `{again}` makes the records again")


def check(results: Path, data_root: str | None = None) -> Check:
    """Run the suite into a temporary folder and compare; `BadInputError` where `results/smoke` has no records."""
    committed = load(results)
    if not committed:
        raise BadInputError(
            f"no records in {results / SUITE}: `python -m bench run --suite {SUITE} --results {results}` makes them"
        )
    with TemporaryDirectory() as temporary:
        run_suite(SUITE, results=Path(temporary), data_root=data_root, quiet=True)
        return compare(committed, load(Path(temporary)))


def load(results: Path) -> dict[str, Record]:
    """The suite's own records by the place of their file; `BadInputError` for one that cannot be read.

    Submitted rows and attacks lie beside them, and are no part of the suite: `verify` plays those.
    """
    damaged: list[str] = []
    store = Store(results, SUITE)
    result = {store.path(record.cell, record.seed): record for record in store.records(damaged)}
    if damaged:
        raise BadInputError(damaged[0])
    return {str(path.relative_to(store.folder)): record for path, record in result.items() if not _is_submitted(path)}


def _is_submitted(path: Path) -> bool:
    """Whether the record's defense or attack is somebody else's."""
    return any((folder / SUBMISSION).is_file() for folder in list(path.parents)[:2])


def compare(committed: Mapping[str, Record], found: Mapping[str, Record]) -> Check:
    """All differences, record by record, in the order of their places."""
    differences, same_machine = [], 0
    for place in sorted({*committed, *found}):
        if place not in committed or place not in found:
            states = ("there" if place in records else None for records in (committed, found))
            differences.append(Difference(place, "record", *states))
            continue
        old, new = committed[place], found[place]
        exact = same_bits(old.environment, new.environment)
        same_machine += exact
        differences += [Difference(place, *row) for row in differing(numbers(old), numbers(new), exact)]
    return Check(differences, len(committed), same_machine)
