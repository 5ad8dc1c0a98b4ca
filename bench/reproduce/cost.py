"""What a form would cost that is not run: a round of each kind of cell is timed, and multiplied."""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.federation.settings import FederationSettings
from bench.reproduce.evidence import FOLDER, MEASUREMENTS, Runs, papers_suite
from bench.reproduce.item import Form, Item
from bench.reproduce.measurements import Experiment, Measurements, Point
from bench.suite import Cell, shipped

if TYPE_CHECKING:
    from bench.data import Dataset

COSTLY: tuple[str, ...] = (
    *("dataset", "model", "clients", "samples_per_client", "participation", "local_epochs", "local_steps"),
    *("batch_size", "messages", "dtype"),
)
"""Settings on which the time of a round depends."""
SEED = 1_000_003
FEW_TARGETS = 1
MORE_STEPS = 8
"""Steps that a second timing has more, or as many again: enough to be seen beside what a round costs anyway."""


def kind_of(cell: Cell, probe: dict[str, int]) -> Point:
    """What the cost of a round of this cell depends on, and what of it a probe makes smaller."""
    settings = cell.federation.model_dump(mode="json")
    attack = None
    if cell.is_privacy and cell.attack is not None:  # an inversion ends the sooner the less noise there is
        attack = {"name": cell.attack.name, "parameters": cell.attack.parameters, "against": cell.defense.parameters}
    return {
        "defense": cell.defense.name,
        "federation": {key: settings[key] for key in COSTLY},
        "attack": attack,
        "probe": dict(probe),
    }


def time_a_round(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Seconds of setting up, of one round of the cell and of one evaluation; of an inversion, of one target.

    Of training they are the processor's, which another process beside this one does not make longer.
    """
    everywhere = (name.removeprefix(f"{FOLDER}/") for name in shipped() if name.startswith(f"{FOLDER}/"))
    cell = next(result for result in _cells(everywhere) if kind_of(result, point["probe"]) == point)
    return _time_inversion(cell, data_root) if cell.is_privacy else _time_training(cell, point["probe"], data_root)


def _time_training(cell: Cell, probe: dict[str, int], data_root: str | None) -> dict[str, Any]:
    """A round of the probe is timed with its local steps and, where it sets them, with some more.

    What a step adds is multiplied by the cell's steps, what is left of a round is paid once, both for every client.
    """
    from bench.data import load
    from bench.federation.clients import Plan

    dataset, settings = load(cell.federation.dataset, data_root), cell.federation
    shard = settings.samples_per_client or max(1, len(dataset.train.y) // settings.clients)
    smaller = FederationSettings(**{**settings.model_dump(), "samples_per_client": shard, **_length(probe)})
    few = Plan(smaller.batch_size, smaller.local_epochs, smaller.local_steps).num_steps(shard)
    all_steps = Plan(settings.batch_size, settings.local_epochs, settings.local_steps).num_steps(shard)
    more = few + max(MORE_STEPS, few) if all_steps > few else few
    setup, (short, long) = _time_probe(cell, smaller, dataset, (few, more))
    step = max(0.0, long - short) / (more - few) if more > few else 0.0
    return {
        "setup_seconds": setup,
        "round_seconds": (short + step * (all_steps - few)) * settings.participants / smaller.participants,
        "evaluation_seconds": _time_evaluation(cell, dataset),
    }


def _time_probe(
    cell: Cell, settings: FederationSettings, dataset: "Dataset", lengths: Sequence[int]
) -> tuple[float, list[float]]:
    """Seconds of setting up, and of a round of each number of local steps.

    A round goes before: the first one of a process warms it up, and RSA's sends nothing but zeros.
    """
    from bench.federation.clients import Plan
    from bench.federation.engine import Federation
    from bench.plays.findings import build_defense

    before = time.process_time()
    federation = Federation(settings, build_defense(cell), dataset, SEED)
    setup, seconds = time.process_time() - before, []
    federation.advance()
    for steps in lengths:
        federation.plan = Plan(settings.batch_size, steps=steps)
        before = time.process_time()
        federation.advance()
        seconds.append(time.process_time() - before)
    return setup, seconds


def _time_evaluation(cell: Cell, dataset: "Dataset") -> float:
    from bench import models
    from bench.base import rng
    from bench.plays.metrics import accuracy_and_loss

    model = models.build(cell.federation.model, dataset.shape, dataset.num_classes)
    initial = model.initial(rng.generator(SEED, "initial"))
    before = time.process_time()
    accuracy_and_loss(model, initial, dataset.test)
    return time.process_time() - before


def _time_inversion(cell: Cell, data_root: str | None) -> dict[str, Any]:
    from bench.plays.cell import run_cell
    from bench.plays.findings import Task

    few = cell.model_copy(update={"targets": min(FEW_TARGETS, cell.targets)})
    outcome = run_cell(Task("cost", "cost", few, SEED, 1, data_root, 20.0))
    assert outcome.record.status == "ok", outcome.record.error
    return {"target_seconds": (outcome.record.cost.total_seconds or 0.0) / few.targets}


def _length(probe: dict[str, int]) -> dict[str, int | None]:
    return {**probe, "local_epochs": None} if "local_steps" in probe else dict(probe)


def _cells(suites: Iterable[str]) -> Iterator[Cell]:
    return (cell for name in suites for cell in papers_suite(name).cells())


def probes(form: Form) -> Experiment:
    """One round of each kind of cell that the form has."""

    def points() -> tuple[Point, ...]:
        kinds = {str(kind): kind for cell in _cells(form.suites) if (kind := kind_of(cell, dict(form.probe)))}
        return tuple(kinds.values())

    return Experiment("cost", time_a_round, points, version=3)


@dataclass(frozen=True)
class Cost:
    """What is missing of a form, and the core hours that it would take; None where nobody has timed a round."""

    item: Item
    form: Form
    missing: int
    wanted: int
    hours: float | None

    def text(self) -> str:
        line = f"{self.missing} of {self.wanted} cells are missing"
        return f"{line}, {self.core_time()}" if self.missing else line

    def core_time(self) -> str:
        """`about 3 min of one core`, with what else the form needs; `not timed` where nobody has timed a round."""
        text = "not timed" if self.hours is None else f"about {hours(self.hours)} of one core"
        return f"{text}, and {self.form.needs}" if self.form.needs else text


def hours(value: float) -> str:
    """`3 min`, `1.4 h`, `290 h (12 days)`."""
    if value < 1:
        return f"{max(1, round(60 * value))} min"
    return f"{value:.2g} h" if value < 48 else f"{float(f'{value:.2g}'):.0f} h ({value / 24:.0f} days)"


def estimate(item: Item, form: Form, results: Path) -> Cost | None:
    """None for a form without suites, whose experiments take seconds."""
    if not form.suites:
        return None
    store, experiment = Measurements(results / MEASUREMENTS), probes(form)
    timed = {str(result.point): result.only for result in store.found(experiment)}
    runs = [Runs.collect(name, results) for name in form.suites]
    missing = [cell for one in runs for cell, _ in one.missing]
    if form.experiments:  # its measurements play the suite's cells themselves
        points = [point for one in form.experiments for point in store.missing(one)]
        by_hash = {cell.hash: cell for one in runs for cell in one.cells}
        missing = [by_hash[point["cell"]] for point in points if point.get("cell") in by_hash]
    wanted = sum(one.wanted for one in runs)
    seconds = [_seconds(cell, timed.get(str(kind_of(cell, dict(form.probe))))) for cell in missing]
    known = [value for value in seconds if value is not None]
    return Cost(item, form, len(missing), wanted, sum(known) / 3600 if len(known) == len(seconds) else None)


def _seconds(cell: Cell, timed: dict[str, Any] | None) -> float | None:
    if timed is None:
        return None
    if cell.is_privacy:
        return float(timed["target_seconds"]) * cell.targets
    settings = cell.federation
    evaluations = -(-settings.rounds // settings.eval_every)
    played = settings.rounds * timed["round_seconds"]
    return float(timed["setup_seconds"] + played + evaluations * timed["evaluation_seconds"])
