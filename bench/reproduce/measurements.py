"""Measurements: what an experiment that is no cell of a suite gave, one JSON file a point."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from bench.records import PROTOCOL_VERSION, Environment, digest, environment, now, write_whole

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
    some come out of suites.
    """

    name: str
    measure: Measure
    points: Callable[[], tuple[Point, ...]]
    seeds: tuple[int, ...] = (0,)
    version: int = 1
    threads: int = 1

    def key(self, point: Point) -> str:
        """The file's name without its ending: a hash over all that can change the values."""
        return digest(self.name, self.version, point, self.seeds, PROTOCOL_VERSION)


class Measurements:
    """The measurements below a folder, `<experiment>/<key>.json`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, experiment: Experiment, point: Point) -> Path:
        return self.folder / experiment.name / f"{experiment.key(point)}.json"

    def find(self, experiment: Experiment, point: Point) -> Measurement | None:
        """The measurement of today's experiment; None where there is none, or the file holds something else."""
        try:
            found = Measurement.model_validate_json(self.path(experiment, point).read_text())
        except (OSError, ValidationError):
            return None
        return found if found.key == experiment.key(point) else None

    def missing(self, experiment: Experiment) -> list[Point]:
        return [point for point in experiment.points() if self.find(experiment, point) is None]

    def found(self, experiment: Experiment) -> list[Measurement]:
        """Those that are there, in the order of the points."""
        candidates = (self.find(experiment, point) for point in experiment.points())
        return [measurement for measurement in candidates if measurement is not None]

    def make(self, experiment: Experiment, point: Point, data_root: str | None) -> Measurement:
        """Measure, write, and return it."""
        import torch

        torch.set_num_threads(experiment.threads)
        started = time.perf_counter()
        values = tuple(experiment.measure(point, seed, data_root) for seed in experiment.seeds)
        made = Measurement(
            experiment=experiment.name,
            version=experiment.version,
            point=point,
            seeds=experiment.seeds,
            values=values,
            seconds=round(time.perf_counter() - started, 3),
            environment=environment(DEVICE, experiment.threads),
            finished_at=now(),
        )
        write_whole(self.path(experiment, point), (made.model_dump_json(indent=1) + "\n").encode())
        return made
