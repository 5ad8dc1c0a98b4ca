"""Where records were verified: `results/<suite>/verified.json`, written by `verify --write` and read by the boards."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.files import write_whole
from bench.base.numbers import STRICT
from bench.records.folder import VERIFIED, files
from bench.records.provenance import Environment, now
from bench.records.record import Record

FILE = VERIFIED

SENSITIVE = 0.01
"""Accuracy by which one seed under two arithmetics must differ for its cell to be called sensitive to rounding."""


class Found(BaseModel):
    """What came of one row: how many of its records were played anew, and the answers."""

    model_config = STRICT

    records: int
    replayed: int
    bit_for_bit: int
    in_distribution: int
    cannot_tell: int
    refuted: int
    answer: str
    digest: str = ""  # of the row's records then


class Place(BaseModel):
    """Where and when rows were played anew, and what came of each, by the name of its folder."""

    model_config = STRICT

    date: datetime
    environment: Environment
    rows: dict[str, Found]

    @property
    def where(self) -> tuple[str, ...]:
        made = self.environment
        return made.cpu, made.arithmetic, made.torch, made.numpy


class Sensitive(BaseModel):
    """A cell of which one seed under two arithmetics lies over a point of accuracy apart; the widest that was seen."""

    model_config = STRICT

    cell: str
    row: str
    column: str
    seed: int
    apart: float


class Verifications(BaseModel):
    """All of a suite."""

    model_config = STRICT

    places: list[Place] = []
    sensitive: list[Sensitive] = []


def read(folder: Path) -> Verifications:
    """What is known of a suite's folder, nothing where there is no such file; `BadInputError` where it is damaged."""
    path = folder / FILE
    if not path.is_file():
        return Verifications()
    try:
        return Verifications.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise BadInputError(f"{path} is not what `verify --write` writes: {explain(error).split('; ')[0]}") from None
    except OSError as error:
        raise BadInputError(f"cannot read {path}: {error.strerror}") from None


def add(folder: Path, made: Environment, rows: Mapping[str, Found], apart: Iterable[Sensitive]) -> Path:
    """Write what was found into the suite's folder; of a row and a cell the newest stays; the file's place."""
    known = read(folder)
    signed = {name: result.model_copy(update={"digest": digest_of(folder / name)}) for name, result in rows.items()}
    place = Place(date=now(), environment=made, rows=signed)
    before = next((one for one in known.places if one.where == place.where), None)
    if before is not None:
        place = place.model_copy(update={"rows": {**before.rows, **signed}})
    places = [one for one in known.places if one is not before] + [place] * bool(place.rows)
    cells = {one.cell: one for one in known.sensitive} | {one.cell: one for one in apart}
    content = Verifications(places=places, sensitive=sorted(cells.values(), key=lambda one: (one.row, one.column)))
    write_whole(folder / FILE, (content.model_dump_json(indent=1) + "\n").encode())
    return folder / FILE


def sensitive(pairs: Sequence[tuple[Record, Record]]) -> list[Sensitive]:
    """The cells among pairs of records, of one cell and seed under two arithmetics, that rounding changes visibly."""
    results: dict[str, Sensitive] = {}
    for old, new in pairs:
        if "accuracy" not in old.metrics or "accuracy" not in new.metrics:
            continue
        cell, apart = old.cell, abs(old.metrics["accuracy"] - new.metrics["accuracy"])
        if apart > max(SENSITIVE, results[cell.hash].apart if cell.hash in results else 0.0):
            place = {"cell": cell.hash, "row": cell.label, "column": cell.column, "seed": old.seed}
            results[cell.hash] = Sensitive(**place, apart=round(apart, 4))
    return list(results.values())


@dataclass(frozen=True)
class State:
    """What is known of a suite's folder, and the digests of its rows as they are now; or why that cannot be read."""

    known: Verifications = field(default_factory=Verifications)
    digests: Mapping[str, str] = field(default_factory=dict)
    damaged: str = ""


def state(folder: Path) -> State:
    """Of a suite's folder, for its boards."""
    try:
        known = read(folder)
    except BadInputError as error:
        return State(damaged=str(error))
    names = {name for place in known.places for name in place.rows}
    return State(known, {name: digest_of(folder / name) for name in names})


def digest_of(row: Path) -> str:
    """16 hexadecimal digits over a row's files that may be records: it tells what was verified from what came later."""
    content = hashlib.sha256()
    for path in files(row):
        read = path.read_bytes() if path.is_file() and not path.is_symlink() else b""
        content.update(f"{path.relative_to(row)}\n".encode() + read)
    return content.hexdigest()[:16]
