"""Measurements: what an experiment that is no cell of a suite gave, one JSON file a point."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import as_completed
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.base.errors import BadInputError
from bench.base.files import digest, write_whole
from bench.records import PROTOCOL_VERSION, Environment, environment, now
from bench.runs.workers import NO_LIMITS, Processes, WorkerLostError

Point = dict[str, Any]
Values = dict[str, Any]
Measure = Callable[[Point, int, str | None], Values]
DEVICE = "cpu"


class Measurement(BaseModel):
    """What an experiment gave at one point, seed by seed, and where it ran."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    experiment: str
    version: int
    protocol_version: int = PROTOCOL_VERSION
    point: Point
    seeds: tuple[int, ...]
    values: tuple[Values, ...]  # in the order of the seeds
    seconds: float
    environment: Environment
    finished_at: datetime

    @property
    def key(self) -> str:
        return digest(self.experiment, self.version, self.point, self.seeds, self.protocol_version)

    @property
    def only(self) -> Values:
        """The values of an experiment with one seed."""
        (values,) = self.values
        return values

    def each(self, name: str) -> list[float]:
        """One of the values, by seed."""
        return [values[name] for values in self.values]


@dataclass(frozen=True)
class Experiment:
    """A function of (point, seed, data root), and the points and seeds at which it is wanted.

    `version` is raised whenever the function would give other values. Points are made when they are asked for, because
    some come out of suites. `spread` says that a point takes minutes and no time is measured, so that several may be
    measured at once; such a function is one that a module holds by name.
    """

    name: str
    measure: Measure
    points: Callable[[], tuple[Point, ...]]
    seeds: tuple[int, ...] = (0,)
    version: int = 1
    threads: int = 1
    spread: bool = False

    def key(self, point: Point) -> str:
        """The file's name without its ending: a hash over all that can change the values."""
        return digest(self.name, self.version, point, self.seeds, PROTOCOL_VERSION)


@dataclass(frozen=True)
class Job:
    """What a process is sent of an experiment: its function, one point, and the seeds."""

    measure: Measure
    point: Point
    seeds: tuple[int, ...]
    threads: int
    data_root: str | None


def play(job: Job) -> tuple[tuple[Values, ...], float]:
    """The values, in the order of the seeds, and the seconds that they took."""
    import torch

    torch.set_num_threads(job.threads)
    started = time.perf_counter()
    values = tuple(job.measure(job.point, seed, job.data_root) for seed in job.seeds)
    return values, time.perf_counter() - started


class Measurements:
    """The measurements below a folder, `<experiment>/<key>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, experiment: Experiment, point: Point) -> Path:
        return self.folder / experiment.name / f"{experiment.key(point)}.json"

    def find(self, experiment: Experiment, point: Point) -> Measurement | None:
        """The measurement of today's experiment; None where there is none, or the file holds something else."""
        try:
            result = Measurement.model_validate_json(self.path(experiment, point).read_text(encoding="utf-8"))
        except (OSError, ValidationError):
            return None
        return result if result.key == experiment.key(point) else None

    def missing(self, experiment: Experiment) -> list[Point]:
        return [point for point in experiment.points() if self.find(experiment, point) is None]

    def found(self, experiment: Experiment) -> list[Measurement]:
        """Those that are there, in the order of the points."""
        candidates = (self.find(experiment, point) for point in experiment.points())
        return [measurement for measurement in candidates if measurement is not None]

    def make(self, experiment: Experiment, point: Point, data_root: str | None) -> Measurement:
        """Measure, write, and return it."""
        return self._write(experiment, point, *play(_job(experiment, point, data_root)))

    def make_all(
        self, experiment: Experiment, points: Iterable[Point], data_root: str | None, workers: int
    ) -> Iterator[Measurement]:
        """Measure the points and yield each once it is written; the values are the same whatever `workers` is.

        Raises `BadInputError` where a worker process dies; what was written by then stays.
        """
        points = list(points)
        workers = min(workers, len(points)) if experiment.spread else 1
        if workers <= 1:
            yield from (self.make(experiment, point, data_root) for point in points)
            return
        with closing(Processes(workers, NO_LIMITS, play)) as place:
            running = {place.submit(_job(experiment, point, data_root)): point for point in points}
            for future in as_completed(running):
                try:
                    result = future.result()
                except WorkerLostError as lost:
                    text = "what was finished is recorded, the same command goes on from there"
                    raise BadInputError(f"{experiment.name}: {lost} while it measured a point; {text}") from None
                yield self._write(experiment, running[future], *result)

    def _write(self, experiment: Experiment, point: Point, values: tuple[Values, ...], seconds: float) -> Measurement:
        made = Measurement(
            experiment=experiment.name,
            version=experiment.version,
            point=point,
            seeds=experiment.seeds,
            values=values,
            seconds=round(seconds, 3),
            environment=environment(DEVICE, experiment.threads),
            finished_at=now(),
        )
        write_whole(self.path(experiment, point), (made.model_dump_json(indent=1) + "\n").encode())
        return made


def _job(experiment: Experiment, point: Point, data_root: str | None) -> Job:
    return Job(experiment.measure, point, experiment.seeds, experiment.threads, data_root)
