"""The smoke suite's numbers against the committed ones: the same bits on one class of machine, close on any other."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from bench.errors import BadInputError
from bench.jobs import run_suite
from bench.perf.history import same_bits
from bench.records import Record, Store
from bench.submission.folder import FILE as SUBMISSION

SUITE = "smoke"


class Tolerance(NamedTuple):
    """Two values are close when they differ by no more than `absolute`, or by that share of the larger one."""

    absolute: float
    relative: float


FLOATS = Tolerance(1e-9, 1e-3)

TOLERANCES: dict[str, Tolerance] = {
    "accuracy": Tolerance(0.01, 0.0),
    "curve": Tolerance(0.01, 0.0),
    "gradient_match_loss": Tolerance(1e-9, 0.01),
    "trace": Tolerance(1e-9, 0.01),
    "mse": Tolerance(1e-9, 0.3),
    "psnr": Tolerance(1.0, 0.0),
    "ssim": Tolerance(0.03, 0.0),
    "recovered": Tolerance(0.25, 0.0),
    "label_recovered": Tolerance(0.25, 0.0),
}
"""What another class of machine may give, by a field's last name (a control's is that of the attack); `FLOATS` else.

Sums run in another order there, and everything follows from that. Three other classes were played on one machine: torch
and its BLAS held to AVX2, to AVX2 with MKL's own AVX2 paths, and to plain SSE. Accuracies and curves came out the same,
losses to 1e-6. An inversion of noisy gradients walks another path from the first rounding on: the losses it ends at
differed by 0.1 %, its mse by up to 15 %, its PSNR by 0.36 dB, its SSIM by 0.008. The tolerances are two to ten times
that; for accuracies, where nothing was seen, one test image in a hundred, and for the share of recovered images one of
the suite's four targets.
"""


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
        found = f"{count or 'no'} difference{'' if count == 1 else 's'}"
        print(f"{found} over {self.records} records of the suite {SUITE}, {self.same_machine} compared bit for bit")
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
    found = {store.path(record.cell, record.seed): record for record in store.records(damaged)}
    if damaged:
        raise BadInputError(damaged[0])
    return {str(path.relative_to(store.folder)): record for path, record in found.items() if not _is_submitted(path)}


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


def differing(old: Mapping[str, Any], new: Mapping[str, Any], exact: bool) -> Iterator[tuple[str, Any, Any]]:
    """(field, old, new) where they are not the same, or not close where `exact` is not asked for."""
    if not exact:
        old, new = portable(old), portable(new)
    for field in sorted({*old, *new}):
        before, after = old.get(field), new.get(field)
        if before != after and (exact or not close(field, before, after)):
            yield field, before, after


def numbers(record: Record) -> dict[str, Any]:
    """Every number of the experiment, flat, by its path in the record: no times, no versions, no file names."""
    fields = {"status", "error", "metrics", "curve", "trace", "privacy", "derived", "within_claim"}
    content = record.model_dump(
        mode="json", include={**dict.fromkeys(fields, True), "cost": {"upload_bytes", "peer_bytes"}}
    )
    return dict(_flat(content))


def portable(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Without what only one class of machine repeats: of an attack's loss trace, only its start and its best."""
    kept = {field: value for field, value in fields.items() if not field.startswith("trace.")}
    trace = [value for field, value in fields.items() if field.startswith("trace.")]
    return {**kept, "trace.first": trace[0], "trace.best": min(trace)} if trace else kept


def close(field: str, old: Any, new: Any) -> bool:
    """Whether two values of a field may be of two classes of machine."""
    if not isinstance(old, float) or not isinstance(new, float):
        return bool(old == new)
    tolerance = tolerance_of(field)
    return math.isclose(old, new, rel_tol=tolerance.relative, abs_tol=tolerance.absolute)


def tolerance_of(field: str, known: Mapping[str, Tolerance] = TOLERANCES) -> Tolerance:
    """By the part of the path that has one; `metrics.control_psnr` is a `psnr`."""
    parts = (part.removeprefix("control_").removeprefix("blind_") for part in field.split("."))
    return next((known[part] for part in parts if part in known), FLOATS)


def _flat(content: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(content, dict | list):
        for key, value in content.items() if isinstance(content, dict) else enumerate(content):
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, content
