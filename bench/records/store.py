"""The records of a suite as files: one JSON file for each (cell, seed), written whole or not at all."""

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from bench.base.errors import BadInputError
from bench.base.files import write_whole
from bench.records.folder import ASIDE, contents, slug
from bench.records.identity import record_key
from bench.records.reading import NewerRecordError, read
from bench.records.record import Record
from bench.suite import Cell


class Store:
    """The records of one suite below `results/<suite>/`."""

    def __init__(self, results: Path, suite: str) -> None:
        self.folder = results / suite

    def path(self, cell: Cell, seed: int) -> Path:
        return self.folder / slug(cell.label) / cell.attack_name / f"{record_key(cell, seed)}.json"

    def lock_path(self, cell: Cell, seed: int) -> Path:
        """The file that a run locks while it plays the cell."""
        return self.path(cell, seed).with_name(f".{record_key(cell, seed)}.lock")

    def write(self, record: Record) -> Path:
        """Write the record whole or not at all; a file in its place that holds none is kept under another name."""
        path = self.path(record.cell, record.seed)
        _set_aside(path)
        write_whole(path, (record.model_dump_json(indent=1) + "\n").encode())
        return path

    def lock_files(self) -> list[Path]:
        """Those of runs that are under way, and of runs that were killed."""
        return sorted(self.folder.glob("*/*/.*.lock"))

    def clear_leftovers(self, lock: Path) -> None:
        """Remove what writes that broke off left of a cell; only for whoever holds this lock of it."""
        for path in lock.parent.glob(f"{lock.stem}.*"):
            if path != lock:
                path.unlink(missing_ok=True)

    def find(self, cell: Cell, seed: int, protocol: str) -> Record | None:
        """The finished record of this cell and seed under this protocol, if there is one.

        Raises `BadInputError` for a record from a newer schema: nobody is to write an older one over it.
        """
        path = self.path(cell, seed)
        if path.is_symlink() or not path.exists():
            return None
        try:
            record = read(path)
        except NewerRecordError:
            raise
        except BadInputError:
            return None
        return record if (record.key, record.protocol) == (path.stem, protocol) else None

    def records(self, damaged: list[str]) -> Iterator[Record]:
        """All records that are where they belong; one line about each other file is added to `damaged`."""
        result = contents(self.folder)
        damaged += [problem.line for problem in result.problems]
        yield from result.records.values()


def _set_aside(path: Path) -> None:
    """Rename what lies there and is no record, so that nothing is lost by writing one."""
    try:
        read(path)
    except BadInputError:
        if os.path.lexists(path):
            names = (path.with_name(f"{path.name}{ASIDE}{count}") for count in itertools.count(1))
            path.rename(next(name for name in names if not os.path.lexists(name)))
