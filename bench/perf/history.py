"""The history: one run a line, oldest first, appended whole; what cannot be read is told by its line number."""

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import BaseModel, ValidationError

from bench.base.errors import BadInputError
from bench.base.numbers import STRICT
from bench.perf.calibration import Normaliser
from bench.perf.options import NEWEST
from bench.perf.statistics import Spread
from bench.records import Environment
from bench.records.comparison import MachineClass, machine_class


class Figure(BaseModel):
    """One benchmark in one run: its normalised time with the spread over passes, seconds, bytes at the peak."""

    model_config = STRICT

    normaliser: Normaliser
    median: float
    low: float
    high: float
    seconds: float
    peak_bytes: int | None = None

    @property
    def spread(self) -> Spread:
        return Spread(self.median, self.low, self.high)


class Entry(BaseModel):
    """One run: where, when, what the kernels took (seconds) and how unquiet they were, a figure a benchmark."""

    model_config = STRICT

    date: datetime
    environment: Environment
    cores: int
    passes: int
    quick: bool
    kernel_version: int
    calibration: dict[str, float]
    disturbance: float
    benchmarks: dict[str, Figure]

    @property
    def machine_class(self) -> MachineClass:
        return machine_class(self.environment)

    def shares_with(self, other: "Entry") -> bool:
        """Whether the two have a benchmark whose figures compare."""
        same_kernels = self.kernel_version == other.kernel_version
        return same_kernels and any(
            name in other.benchmarks and other.benchmarks[name].normaliser == figure.normaliser
            for name, figure in self.benchmarks.items()
        )


def read(path: Path, damaged: list[str]) -> list[Entry]:
    """The entries of a file, none where there is none; one line about each damaged line is added to `damaged`."""
    if not path.exists():
        return []
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        raise BadInputError(f"cannot read the history {path}: {error.strerror}") from None
    entries = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            entries.append(Entry.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"]))
            damaged.append(f"line {number} of {path} is no entry: {place + ': ' if place else ''}{first['msg']}")
    return entries


def append(path: Path, entry: Entry) -> None:
    """Add one line in a single write, so that two runs never mix; after a torn line it begins a new one."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(handle).st_size
            torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
            os.write(handle, b"\n" * torn + entry.model_dump_json().encode() + b"\n")
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise BadInputError(f"cannot write the history {path}: {error.strerror}") from None


def choose(base: str, history: Path, run: Entry, damaged: list[str]) -> Entry | None:
    """The entry that `base` names: `newest`, the beginning of a commit, or another history file (its newest).

    Of several, the newest of the run's machine class, else the newest; None where `newest` finds nothing to compare.
    """
    path = Path(base)
    if base == NEWEST:
        return _newest(read(history, damaged), run)
    if path.is_file():
        result = _newest(read(path, damaged), run)
        if result is None:
            raise BadInputError(f"--compare {base}: no entry in that file has a benchmark of this run")
        return result
    entries = read(history, damaged)
    of_commit = [entry for entry in entries if (entry.environment.commit or "").startswith(base)]
    if not of_commit:
        commits = dict.fromkeys(entry.environment.commit or "(no commit)" for entry in entries)
        known = f"it has {', '.join(commits)}" if commits else "it has no entries"
        raise BadInputError(f"--compare {base}: neither a file nor a commit in {history}: {known}")
    result = _newest(of_commit, run)
    if result is None:
        raise BadInputError(f"--compare {base}: no entry of that commit has a benchmark of this run")
    return result


def _newest(entries: Sequence[Entry], run: Entry) -> Entry | None:
    usable = [entry for entry in entries if run.shares_with(entry)]
    alike = [entry for entry in usable if entry.machine_class == run.machine_class]
    return max(alike or usable, key=lambda entry: entry.date, default=None)
