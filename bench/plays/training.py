"""A training cell: rounds to the end, the accuracy of the last model."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from bench.attacking.poisoning import DataPoisoning
from bench.base.errors import DivergedError, require
from bench.base.memory import keep_freed_memory
from bench.data import Dataset, Split
from bench.federation.engine import Federation
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.plays.metrics import accuracy_and_loss, damage_on, right_answers, right_by_class, worst_class, worst_tenth
from bench.records import Rehearsal, Siege, SingledOut
from bench.suite import Cell
from bench.threat import ByzantineAttack, Ensemble


@dataclass(frozen=True)
class Run:
    """A training that has come to its end: the federation, the accuracy on the way, and the last model's loss."""

    federation: Federation
    curve: list[tuple[int, float]]
    success: list[tuple[int, float]]  # of a backdoor that attacks in some rounds only, on the way
    roles: dict[str, list[int]]  # of clients that the rule singles out, by round
    accuracy: float
    loss: float
    seconds: float


def play(task: Task, dataset: Dataset) -> Findings:
    """Train to the end; the accuracy is that of the last round's model, never the best of the curve."""
    attack = None if task.cell.attack is None else build_attack(task.cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    if isinstance(attack, Ensemble):
        return _besieged(task, dataset, attack)
    return _findings(_trained(task, dataset, attack), dataset)


def _trained(task: Task, dataset: Dataset, attack: ByzantineAttack | None) -> Run:
    """Raises `DivergedError` where the model, or its loss, is no longer finite."""
    cell = task.cell
    federation = Federation(
        cell.federation, build_defense(cell), dataset, task.seed, attack, cell.byzantine, cell.attacked_rounds
    )
    federation.damage = damage_on(federation.model, dataset.validation)
    curve: list[tuple[int, float]] = []
    success: list[tuple[int, float]] = []
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
        if _counts_success(cell, index + 1) and (share := _success(federation, dataset)) is not None:
            success.append((index + 1, round(share, 4)))
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is not finite after round {cell.federation.rounds}")
    return Run(federation, curve, success, roles, accuracy, loss, seconds)


def _counts_success(cell: Cell, played: int) -> bool:
    """Whether a backdoor's success is asked after so many rounds: where the curve is, and after the last attack.

    Only of attacks that begin later or end earlier than the training: of others the end says it.
    """
    if cell.start is None and cell.stop is None:
        return False
    settings = cell.federation
    return played % settings.eval_every == 0 or played in (cell.stop, settings.rounds)


def _success(federation: Federation, dataset: Dataset) -> float | None:
    """The share of images that get the answer that the attackers want; None where they want none."""
    goal = federation.goal(dataset.test)
    if goal is None:
        return None
    if isinstance(federation.attack, DataPoisoning) and federation.attack.has_control:
        return _beyond_control(federation, dataset, goal)
    return accuracy_and_loss(federation.model, federation.global_model, goal)[0]


def _beyond_control(federation: Federation, dataset: Dataset, goal: Split) -> float:
    """The share of the goal's images that get the wanted answer, and not from the same training without attackers.

    Of a goal that every model reaches nothing is left.
    """
    require(len(goal) > 0 and bool(torch.isfinite(goal.x).all()), "goal", "empty, or not finite", "images")
    control = Federation(federation.settings, federation.defense, dataset, federation.seed)
    for _ in range(federation.round):
        control.advance()
    reached = right_answers(federation.model, federation.global_model, goal)
    return float((reached & ~right_answers(control.model, control.global_model, goal)).double().mean())


def _findings(run: Run, dataset: Dataset) -> Findings:
    federation = run.federation
    metrics = {"accuracy": run.accuracy, "loss": run.loss, **_fairness(federation, dataset)}
    if federation.rejected:
        metrics["rejected_entries"] = float(federation.rejected)
    if (share := _success(federation, dataset)) is not None:
        metrics["backdoor_success"] = share
    claims = stated(federation.defense, federation.setting)
    return Findings(
        metrics=metrics,
        curve=run.curve,
        success=run.success,
        cost=cost_of(federation, run.seconds),
        singled_out=_told(run.roles, federation),
        **claims,
    )


def _fairness(federation: Federation, dataset: Dataset) -> dict[str, float]:
    """Whom the last model serves worst: a class, and the tenth of the honest clients with the lowest accuracy."""
    counts = right_by_class(federation.model, federation.global_model, dataset.test, dataset.num_classes)
    held = federation.label_counts()[~federation.is_byzantine].tolist()
    results = {"worst_class_accuracy": worst_class(*counts)}
    return results | ({"worst_tenth_accuracy": worst_tenth(*counts, held)} if held else {})


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


def _besieged(task: Task, dataset: Dataset, attack: Ensemble) -> Findings:
    """A whole run under each member; what is recorded is the one that left the validation split worst off."""
    rehearsals: dict[str, Rehearsal] = {}
    worst: Run | DivergedError = DivergedError("nobody attacked")
    chosen, lowest, evaluations = "", math.inf, 0
    for name, member in attack.members().items():
        result: Run | DivergedError
        try:
            run = _trained(task, dataset, member)
        except DivergedError as error:
            result, rehearsals[name] = error, Rehearsal(validation=0.0, accuracy=0.0)
        else:
            federation, result = run.federation, run
            held = accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0]
            rehearsals[name] = Rehearsal(validation=held, accuracy=run.accuracy)
            evaluations += federation.evaluations
        if rehearsals[name].validation < lowest:
            chosen, worst, lowest = name, result, rehearsals[name].validation
    rounds = task.cell.federation.rounds * len(rehearsals)
    told = Siege(chosen=chosen, members=rehearsals, rounds=rounds, evaluations=evaluations)
    if isinstance(worst, DivergedError):
        return Findings(status="diverged", error=f"under {chosen}: {worst}", siege=told)
    return replace(_findings(worst, dataset), siege=told)


def validation_accuracy(cell: Cell, seed: int, dataset: Dataset) -> float:
    """A run's accuracy on the validation split, for `tune`; 0 where training diverges.

    It is the mean over the last fifth of the rounds: a step too long to settle must not win by a lucky last one.
    """
    keep_freed_memory()
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    federation = Federation(cell.federation, build_defense(cell), dataset, seed, attack, cell.byzantine)
    federation.damage = damage_on(federation.model, dataset.validation)
    last = -(-cell.federation.rounds // 5)
    accuracies = []
    for index in range(cell.federation.rounds):
        federation.advance()
        if not bool(torch.isfinite(federation.global_model).all()):
            return 0.0
        if index >= cell.federation.rounds - last:
            accuracies.append(accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0])
    return sum(accuracies) / len(accuracies)
