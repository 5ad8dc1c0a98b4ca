"""The records of a suite as files: one JSON file for each (cell, seed), written whole or not at all."""

import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.files import write_whole
from bench.records.identity import record_key
from bench.records.record import SCHEMA_VERSION, Record
from bench.suite import Cell

LONGEST_SLUG = 60
"""Characters of a row's folder; the key tells its records from those of a row with the same beginning."""

LARGEST = 10_000_000
"""Bytes that no record has: one is under ten thousand."""

ASIDE = ".damaged-"
"""Between the name of a file that was no record, where one had to be written, and a number."""


class Store:
    """The records of one suite below `results/<suite>/`."""

    def __init__(self, results: Path, suite: str) -> None:
        self.folder = results / suite

    def path(self, cell: Cell, seed: int) -> Path:
        return self.folder / _slug(cell.label) / cell.attack_name / f"{record_key(cell, seed)}.json"

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
        if not path.exists():
            return None
        try:
            record = read(path)
        except NewerRecordError:
            raise
        except BadInputError:
            return None
        return record if record.protocol == protocol else None

    def records(self, damaged: list[str]) -> Iterator[Record]:
        """All readable records; one line about each file that is not one is added to `damaged`."""
        for path in sorted(self.folder.glob("*/*/*.json")):
            try:
                yield read(path)
            except BadInputError as error:
                damaged.append(str(error))
        for path in sorted(self.folder.glob(f"*/*/*{ASIDE}*")):
            damaged.append(f"{path} is not a record; it was set aside when its cell was recorded anew")


class NewerRecordError(BadInputError):
    """A record of a schema that this version does not know."""


def _set_aside(path: Path) -> None:
    """Rename what lies there and is no record, so that nothing is lost by writing one."""
    try:
        read(path)
    except BadInputError:
        if os.path.lexists(path):
            names = (path.with_name(f"{path.name}{ASIDE}{count}") for count in itertools.count(1))
            path.rename(next(name for name in names if not os.path.lexists(name)))


def read(path: Path) -> Record:
    """The record in a file; `BadInputError` with one line where it holds none."""
    try:
        if path.exists() and not path.is_file():
            raise BadInputError(f"cannot read record {path}: not a regular file")  # a pipe would wait for ever
        if (size := path.stat().st_size) > LARGEST:
            raise BadInputError(f"{path} is not a record: it has {size:,} bytes, and a record less than {LARGEST:,}")
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInputError(f"cannot read record {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadInputError(f"cannot read record {path}: {error}") from None
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not a record: invalid JSON in line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise BadInputError(f"{path} is not a record: its JSON has a number too long or is nested too deeply") from None
    written = found.get("schema_version") if isinstance(found, dict) else None
    if isinstance(written, int | float) and written > SCHEMA_VERSION:
        raise NewerRecordError(
            f"{path} has schema version {written}; this fedsiege reads up to {SCHEMA_VERSION}: upgrade it"
        )
    try:
        return Record.model_validate(found)
    except ValidationError as error:
        raise BadInputError(f"{path} is not a record: {explain(error).split('; ')[0]}") from None


def _slug(label: str) -> str:
    """A folder name from a row's label."""
    kept = "".join(char if char.isalnum() or char in "._-=" else "-" for char in label)
    return "-".join(part for part in kept.split("-") if part.strip("."))[:LONGEST_SLUG] or "row"
