"""The evidence of an item: the records of its suites' cells, and its measurements."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.base.errors import BadInputError
from bench.records import Record, Store, protocol_hash, read
from bench.reproduce.measurements import Experiment, Measurement, Measurements
from bench.reproduce.papers import Stated
from bench.suite import Cell, Suite, load
from leaderboards.estimates import MISSING, Estimate, Estimates, estimates
from leaderboards.frame import CLEAN, to_frame

FOLDER = "papers"
RECORDS = "papers/records"
"""One store for all items: a cell that two of them have is run once."""
MEASUREMENTS = "papers/measurements"


@cache
def papers_suite(name: str) -> Suite:
    """A suite of the folder `papers`."""
    return load(f"{FOLDER}/{name}")


def column(attack: str, byzantine: float) -> str:
    """The column of a cell with this Byzantine fraction: the clean run where there is none."""
    return f"{attack} b={byzantine:g}" if byzantine else CLEAN


@dataclass(frozen=True)
class Curve:
    """Accuracy in % by round, mean over the seeds, with the least and the largest seed."""

    rounds: NDArray[np.float64]
    mean: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


@dataclass(frozen=True)
class Runs:
    """The records that there are of a suite's cells."""

    suite: Suite
    cells: tuple[Cell, ...]
    records: tuple[Record, ...]
    store: Store

    @classmethod
    def collect(cls, name: str, results: Path) -> "Runs":
        """Those of today's protocol; needs no data."""
        suite = papers_suite(name)
        cells, store = tuple(suite.cells()), Store(results, RECORDS)
        result = (_find(store, cell, seed, suite) for cell in cells for seed in suite.seeds_for(cell))
        return cls(suite, cells, tuple(record for record in result if record is not None), store)

    @property
    def wanted(self) -> int:
        return sum(len(self.suite.seeds_for(cell)) for cell in self.cells)

    @cached_property
    def missing(self) -> list[tuple[Cell, int]]:
        """(cell, seed) without a record."""
        there = {record.key for record in self.records}
        wanted = [(cell, seed) for cell in self.cells for seed in self.suite.seeds_for(cell)]
        return [(cell, seed) for cell, seed in wanted if f"{cell.hash}-s{seed}" not in there]

    @property
    def complete(self) -> bool:
        """Whether every cell has a record of some seed."""
        return {cell.hash for cell in self.cells} == {record.cell.hash for record in self.records}

    @property
    def seeds(self) -> str:
        """`3 seeds`, or `1 of 3 seeds` where a cell has fewer than the suite asks for."""
        counts = [sum(record.cell.hash == cell.hash for record in self.records) for cell in self.cells]
        asked = len(self.suite.seeds)
        return f"{asked} seed{'s' * (asked > 1)}" if min(counts) == asked else f"{min(counts)} of {asked} seeds"

    def estimates(self, metric: str) -> Estimates:
        return estimates(to_frame(self.records), metric)

    @cached_property
    def accuracies(self) -> Estimates:
        return self.estimates("accuracy")

    def accuracy(self, label: str, attack: str, byzantine: float) -> Estimate:
        """In [0, 1], of the last round, over the seeds."""
        return self.accuracies.get((label, column(attack, byzantine)), MISSING)

    def percent(self, label: str, attack: str, byzantine: float) -> float:
        """The mean in %, 0 where a seed failed or diverged."""
        return 100 * self.accuracy(label, attack, byzantine).score

    def of(self, label: str, place: str) -> list[Record]:
        return [record for record in self.records if (record.cell.label, record.cell.column) == (label, place)]

    def file(self, record: Record, kind: str) -> Path:
        """The file of this kind that lies beside the record."""
        return self.store.path(record.cell, record.seed).parent / record.files[kind]

    def curve(self, label: str, place: str) -> Curve | None:
        """None where no seed finished."""
        curves = [dict(record.curve) for record in self.of(label, place) if record.status == "ok"]
        if not curves:
            return None
        rounds = sorted(curves[0])
        values = 100 * np.array([[curve[at] for at in rounds] for curve in curves])
        return Curve(np.array(rounds, dtype=float), values.mean(0), values.min(0), values.max(0))


@dataclass(frozen=True)
class Evidence:
    """What an item is built from: the paper's statement, and what there is of one form."""

    stated: Stated
    form: str
    runs: Mapping[str, Runs] = field(default_factory=dict)
    measured: Mapping[str, list[Measurement]] = field(default_factory=dict)

    @property
    def only(self) -> Runs:
        """The runs of a form with one suite."""
        (runs,) = self.runs.values()
        return runs

    @property
    def environments(self) -> set[str]:
        """Commit, versions and machine of each record and measurement."""
        records = [record.environment for runs in self.runs.values() for record in runs.records]
        points = [one.environment for result in self.measured.values() for one in result]
        return {
            f"commit {where.commit or 'none'}, torch {where.torch}, {where.cpu or where.machine}, {where.device}, "
            f"{where.threads} thread(s)"
            for where in (*records, *points)
        }

    @property
    def seeds(self) -> str:
        """How many seeds its cells have: of several suites the one that has the least."""
        return min((runs.seeds for runs in self.runs.values()), default="")


def collect(
    stated: Stated, form: str, suites: Iterable[str], experiments: Iterable[Experiment], results: Path
) -> Evidence | None:
    """The evidence of a form; None where a cell or a point has nothing yet."""
    runs = {name: Runs.collect(name, results) for name in suites}
    store = Measurements(results / MEASUREMENTS)
    experiments = list(experiments)
    if not all(one.complete for one in runs.values()) or any(store.missing(one) for one in experiments):
        return None
    return Evidence(stated, form, runs, {one.name: store.found(one) for one in experiments})


def _find(store: Store, cell: Cell, seed: int, suite: Suite) -> Record | None:
    """The record of the cell under today's protocol and the data that it names itself."""
    path = store.path(cell, seed)
    if not path.exists():
        return None
    try:
        record = read(path)
    except BadInputError:
        return None
    wanted = protocol_hash(cell, record.data_digest, suite.ranking.recovered_psnr)
    return record if record.protocol == wanted else None
