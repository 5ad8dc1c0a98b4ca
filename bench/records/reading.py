"""One record from one file, or one line that says why there is none."""

import json
from pathlib import Path

from pydantic import ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.records.record import SCHEMA_VERSION, Record

LARGEST = 10_000_000
"""Bytes that no record has: one is under ten thousand."""


class NewerRecordError(BadInputError):
    """A record of a schema that this version does not know."""


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
        result = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"{path} is not a record: invalid JSON in line {error.lineno}") from None
    except (ValueError, RecursionError):
        raise BadInputError(f"{path} is not a record: its JSON has a number too long or is nested too deeply") from None
    written = result.get("schema_version") if isinstance(result, dict) else None
    if isinstance(written, int | float) and written > SCHEMA_VERSION:
        raise NewerRecordError(
            f"{path} has schema version {written}; this fedsiege reads up to {SCHEMA_VERSION}: upgrade it"
        )
    try:
        return Record.model_validate(result)
    except ValidationError as error:
        raise BadInputError(f"{path} is not a record: {explain(error).split('; ')[0]}") from None
