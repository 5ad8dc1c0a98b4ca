"""A training cell: rounds to the end, the accuracy of the last model."""

import math
import time
from collections.abc import Mapping, Sequence

import torch

from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.base.errors import DivergedError
from bench.base.memory import keep_freed_memory
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.plays.metrics import accuracy_and_loss, right_by_class, worst_class, worst_tenth
from bench.records import SingledOut
from bench.suite import Cell
from bench.threat import ByzantineAttack


def play(task: Task, dataset: Dataset) -> Findings:
    """Train to the end; the accuracy is that of the last round's model, never the best of the curve."""
    cell = task.cell
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    federation = Federation(
        cell.federation, build_defense(cell), dataset, task.seed, attack, cell.byzantine, cell.attacked_rounds
    )
    curve: list[tuple[int, float]] = []
    seconds = 0.0
    roles: dict[str, list[int]] = {}
    accuracy, loss = 0.0, 0.0
    for index in range(cell.federation.rounds):
        before = time.perf_counter()
        federation.advance()
        seconds += time.perf_counter() - before
        for role, client in federation.singled_out().items():
            roles.setdefault(role, []).append(client)
        if not bool(torch.isfinite(federation.global_model).all()):
            raise DivergedError(f"the global model is not finite after round {index + 1}")
        if (index + 1) % cell.federation.eval_every == 0 or index + 1 == cell.federation.rounds:
            accuracy, loss = accuracy_and_loss(federation.model, federation.global_model, dataset.test)
            curve.append((index + 1, round(accuracy, 4)))
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is not finite after round {cell.federation.rounds}")
    metrics = {"accuracy": accuracy, "loss": loss, **_fairness(federation, dataset)}
    if federation.rejected:
        metrics["rejected_entries"] = float(federation.rejected)
    if isinstance(attack, DataPoisoning) and (goal := attack.goal(dataset.test, DataFacts.of(dataset))) is not None:
        metrics["backdoor_success"] = accuracy_and_loss(federation.model, federation.global_model, goal)[0]
    claims = stated(federation.defense, federation.setting)
    return Findings(
        metrics=metrics, curve=curve, cost=cost_of(federation, seconds), singled_out=_told(roles, federation), **claims
    )


def _fairness(federation: Federation, dataset: Dataset) -> dict[str, float]:
    """Whom the last model serves worst: a class, and the tenth of the honest clients with the lowest accuracy."""
    counts = right_by_class(federation.model, federation.global_model, dataset.test, dataset.num_classes)
    held = federation.label_counts()[~federation.is_byzantine].tolist()
    found = {"worst_class_accuracy": worst_class(*counts)}
    return found | ({"worst_tenth_accuracy": worst_tenth(*counts, held)} if held else {})


def _told(roles: Mapping[str, Sequence[int]], federation: Federation) -> dict[str, SingledOut]:
    """Of the clients by round that had each role: the last one, and in how many rounds it was a Byzantine one."""
    forging = federation.is_byzantine.tolist()
    return {
        role: SingledOut(
            client=clients[-1],
            byzantine=forging[clients[-1]],
            byzantine_rounds=sum(forging[client] for client in clients),
        )
        for role, clients in roles.items()
    }


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
