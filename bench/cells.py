"""One cell played out: `run_cell(cell, seed) -> Record`. The only place that holds both the attacks and the truth."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from bench import audits, device, leakage, models
from bench.data import Dataset, load
from bench.federation import Federation
from bench.findings import (
    DivergedError,
    Findings,
    Task,
    build_attack,
    build_defense,
    cost_of,
    count_byzantine,
    stands,
    stated,
)
from bench.memory import keep_freed_memory
from bench.metrics import accuracy_and_loss
from bench.poisoning import DataFacts, DataPoisoning
from bench.records import Record, environment, now, protocol_hash, record_key, write_whole
from bench.suite import Cell, explain
from bench.threads import blas_threads
from bench.threat import ByzantineAttack

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
    torch.set_num_threads(task.threads)
    keep_freed_memory()
    cell, started = task.cell, time.perf_counter()
    dataset, place = load(cell.federation.dataset, task.data_root), device_of(task)
    bare = _bare(task, dataset)
    play = {"training": _training, "inversion": leakage.play, "audit": audits.play}
    known: dict[str, Any] = {}
    try:
        with blas_threads(task.threads), device.computing_on(place):
            known = _standing(bare, dataset)
            found = play[cell.kind](task, dataset.to(device.current()))
    except DivergedError as error:
        found = Findings(status="diverged", error=str(error))
    except (Exception, SystemExit) as error:  # a cell that fails is shown as failed, and the rest of the matrix goes on
        found = Findings(status="failed", error=_in_one_line(f"{type(error).__name__}: {str(error).strip()}"))
    key = record_key(cell, task.seed)
    update = {name: value for name, value in vars(found).items() if name != "images"}
    update |= known  # also where the cell broke off
    update["cost"] = found.cost.model_copy(update={"total_seconds": round(time.perf_counter() - started, 3)})
    update["files"] = {ending.strip("."): f"{key}{ending}" for ending in found.images}
    try:
        record = Record.model_validate({**dict(bare), **update, "finished_at": now()})
    except ValidationError as error:
        failed = {"status": "failed", "error": _in_one_line(f"the record cannot hold {explain(error)}"), **known}
        return Outcome(bare.model_copy(update={**failed, "cost": update["cost"], "finished_at": now()}), {})
    return Outcome(record, found.images)


def lost_outcome(task: Task, reason: str) -> Outcome:
    """The failed record of a cell whose worker did not live to make one."""
    bare = _bare(task, load(task.cell.federation.dataset, task.data_root))
    return Outcome(bare.model_copy(update={"status": "failed", "error": _in_one_line(reason)}), {})


def _bare(task: Task, dataset: Dataset) -> Record:
    """The record before anything is known of how the cell went."""
    return Record(
        suite=task.suite,
        setting=task.setting,
        protocol=protocol_hash(task.cell, dataset.digest, task.recovered_psnr),
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
    """The task's; an audit, thousands of rounds of a few small messages, is a CPU's work wherever the rest runs."""
    return device.CPU if task.cell.kind == "audit" else task.device


def _in_one_line(message: str) -> str:
    return message.split("\n")[0].rstrip(": ")[:LONGEST_ERROR]


def _training(task: Task, dataset: Dataset) -> Findings:
    """Train to the end; the accuracy is that of the last round's model, never the best of the curve."""
    cell = task.cell
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    federation = Federation(cell.federation, build_defense(cell), dataset, task.seed, attack, cell.byzantine)
    curve: list[tuple[int, float]] = []
    seconds = 0.0
    accuracy, loss = 0.0, 0.0
    for index in range(cell.federation.rounds):
        before = time.perf_counter()
        federation.advance()
        seconds += time.perf_counter() - before
        if not bool(torch.isfinite(federation.global_model).all()):
            raise DivergedError(f"the global model is not finite after round {index + 1}")
        if (index + 1) % cell.federation.eval_every == 0 or index + 1 == cell.federation.rounds:
            accuracy, loss = accuracy_and_loss(federation.model, federation.global_model, dataset.test)
            curve.append((index + 1, round(accuracy, 4)))
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is not finite after round {cell.federation.rounds}")
    metrics = {"accuracy": accuracy, "loss": loss}
    if federation.rejected:
        metrics["rejected_entries"] = float(federation.rejected)
    if isinstance(attack, DataPoisoning) and (goal := attack.goal(dataset.test, DataFacts.of(dataset))) is not None:
        metrics["backdoor_success"] = accuracy_and_loss(federation.model, federation.global_model, goal)[0]
    claims = stated(federation.defense, federation.setting)
    return Findings(metrics=metrics, curve=curve, cost=cost_of(federation, seconds), **claims)


def validation_accuracy(cell: Cell, seed: int, dataset: Dataset) -> float:
    """The clean run's accuracy on the validation split, for `tune`; 0 where training diverges.

    It is the mean over the last fifth of the rounds: a step too long to settle must not win by a lucky last one.
    """
    keep_freed_memory()
    federation = Federation(cell.federation, build_defense(cell), dataset, seed)
    last = -(-cell.federation.rounds // 5)
    accuracies = []
    for index in range(cell.federation.rounds):
        federation.advance()
        if not bool(torch.isfinite(federation.global_model).all()):
            return 0.0
        if index >= cell.federation.rounds - last:
            accuracies.append(accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0])
    return sum(accuracies) / len(accuracies)
