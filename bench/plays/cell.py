"""One cell played out: `run_cell(cell, seed) -> Record`. The only place that holds both the attacks and the truth."""

import pkgutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench import models
from bench.base import device, rng
from bench.base.errors import DivergedError
from bench.base.explain import explain
from bench.base.files import write_whole
from bench.base.memory import keep_freed_memory
from bench.base.threads import blas_threads
from bench.data import Dataset, load
from bench.federation.secret import secret_world
from bench.plays.findings import Findings, Task, count_byzantine, stands
from bench.records import Record, environment, now, protocol_hash, record_key
from bench.suite import Cell, kinds

Play = Callable[[Task, Dataset], Findings]

LONGEST_ERROR = 500
"""Characters of a record's sentence about what went wrong."""


@dataclass(frozen=True)
class Outcome:
    """A record, and the images that belong beside it (PNG), by the ending of their file name."""

    record: Record
    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Write the files below the record's folder; the store writes the record last."""
        for ending, content in self.files.items():
            write_whole(folder / f"{self.record.key}{ending}", content)


def run_cell(task: Task) -> Outcome:
    """Play the cell; whatever a defense or an attack raises becomes a record with status `failed`."""
    with rng.salted(task.world.salt), secret_world(task.world.secret):
        return _played(task)


def _played(task: Task) -> Outcome:
    torch.set_num_threads(task.threads)
    keep_freed_memory()
    cell, started = task.cell, time.perf_counter()
    dataset, place = load(cell.federation.dataset, task.data_root), device_of(task)
    bare = _bare(task, dataset)
    known: dict[str, Any] = {}
    try:
        with blas_threads(task.threads), device.computing_on(place):
            known = _standing(bare, dataset)
            result = player_of(cell)(task, dataset.to(device.current()))
    except DivergedError as error:
        result = Findings(status="diverged", error=str(error))
    except (Exception, SystemExit) as error:  # a cell that fails is shown as failed, and the rest of the matrix goes on
        result = Findings(status="failed", error=_in_one_line(f"{type(error).__name__}: {str(error).strip()}"))
    key = record_key(cell, task.seed)
    update = {name: value for name, value in vars(result).items() if name != "images"}
    update |= known  # also where the cell broke off
    update["cost"] = result.cost.model_copy(update={"total_seconds": round(time.perf_counter() - started, 3)})
    update["files"] = {ending.strip("."): f"{key}{ending}" for ending in result.images}
    try:
        record = Record.model_validate({**dict(bare), **update, "finished_at": now()})
    except ValidationError as error:
        failed = {"status": "failed", "error": _in_one_line(f"the record cannot hold {explain(error)}"), **known}
        return Outcome(bare.model_copy(update={**failed, "cost": update["cost"], "finished_at": now()}), {})
    return Outcome(record, result.images)


def lost_outcome(task: Task, reason: str) -> Outcome:
    """The failed record of a cell whose worker did not live to make one."""
    with rng.salted(task.world.salt):
        bare = _bare(task, load(task.cell.federation.dataset, task.data_root))
    return Outcome(bare.model_copy(update={"status": "failed", "error": _in_one_line(reason)}), {})


def _bare(task: Task, dataset: Dataset) -> Record:
    """The record before anything is known of how the cell went."""
    return Record(
        suite=task.suite,
        setting=task.setting,
        protocol=protocol_hash(task.cell, dataset.digest, task.recovered_psnr, task.world),
        salt=task.world.salt,
        sources=task.world.sources,
        data_digest=dataset.digest,
        cell=task.cell,
        seed=task.seed,
        status="ok",
        byzantine=count_byzantine(task.cell, task.seed),
        environment=environment(device.describe(device_of(task)), task.threads),
        finished_at=now(),
    )


def _standing(bare: Record, dataset: Dataset) -> dict[str, bool]:
    """Whether the defense claims to stand the attack, by the record's field; nothing where nobody attacks."""
    if bare.byzantine is None:
        return {}
    model = models.build(bare.cell.federation.model, dataset.shape, dataset.num_classes)
    return {"within_claim": stands(bare.cell, bare.byzantine, model.dim)}


def device_of(task: Task) -> str:
    """The task's, but for cells that are a CPU's work wherever the rest runs."""
    return device.CPU if kinds.of(task.cell).on_cpu else task.device


def player_of(cell: Cell) -> Play:
    """What plays cells of this kind."""
    play: Play = pkgutil.resolve_name(kinds.of(cell).play)
    return play


def _in_one_line(message: str) -> str:
    return message.split("\n")[0].rstrip(": ")[:LONGEST_ERROR]
