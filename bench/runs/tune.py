"""`tune`: the suite's search grid for one defense, on the validation split, with a seed of its own.

A point's value is the accuracy of the clean run, or the lowest one under the suite's tuning attacks: ByzFL selects so.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pydantic import ValidationError
from rich.table import Table

from bench.base import tables
from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.names import unknown
from bench.base.threads import blas_threads
from bench.federation.settings import FederationSettings
from bench.suite import Cell, Part, Suite, make_part
from bench.suite import load as load_suite
from bench.suite.cell import CLEAN

if TYPE_CHECKING:
    from bench.data import Dataset

SEED = 1_000_003
"""Partition, batches and noise of the search; no board has a record with it."""


@dataclass(frozen=True)
class Trial:
    """One point of the grid and its validation accuracies: of the clean run, and by column under tuning attacks."""

    values: dict[str, float]
    accuracy: float
    attacked: dict[str, float] = field(default_factory=dict)

    @property
    def worst(self) -> float:
        """The lowest accuracy; that of the clean run where nobody attacks."""
        return min(self.attacked.values(), default=self.accuracy)

    def as_dict(self) -> dict[str, float]:
        worst = {"worst_validation_accuracy": self.worst} if self.attacked else {}
        return {**self.values, "validation_accuracy": self.accuracy, **worst}


def search(
    suite: str, defense: str, data_root: str | None, changes: Iterable[str] = (), worst_case: bool = False
) -> list[Trial]:
    """Every point of `[tune.DEFENSE]`, best first; a key is a parameter of the defense or a federation setting.

    With `worst_case` the best is the one whose lowest accuracy under the suite's tuning attacks is highest.
    """
    import torch

    from bench.data import load

    loaded = load_suite(suite, changes)
    grid = loaded.tune.get(defense)
    if grid is None:
        if not loaded.tune:
            cure = f"add a table [tune.{defense}] with lists of values, such as lr = [0.1, 0.3]"
            raise BadInputError(f"suite {loaded.name!r} has no search grid for any defense: {cure}")
        raise BadInputError(unknown(f"search grid in suite {loaded.name!r}", defense, loaded.tune))
    if empty := [key for key, values in grid.items() if not values]:
        raise BadInputError(f"search grid for {defense!r}: {empty[0]} is an empty list")
    torch.set_num_threads(loaded.threads)
    dataset = load(loaded.federation.dataset, data_root)
    if not loaded.training:
        raise BadInputError(f"suite {loaded.name!r} has no clean run to tune on: it says training = false")
    if worst_case and not loaded.tuning_attack:
        cure = "add a [[tuning_attack]] table, with a name that is none of the columns, and byzantine"
        raise BadInputError(f"suite {loaded.name!r} has no attack to tune under: {cure}")
    cells = _tried(loaded, defense, worst_case)
    trials = []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        settings = {key: value for key, value in point.items() if _is_setting(key, cells[0].defense)}
        parameters = {key: value for key, value in point.items() if key not in settings}
        try:
            changed = [_changed(cell, settings, parameters) for cell in cells]
            with blas_threads(loaded.threads):
                trials.append(_trial(point, changed, dataset))
        except ValidationError as error:
            raise BadInputError(f"search grid for {defense!r}: {explain(error)}") from None
        except ValueError as error:
            raise BadInputError(f"search grid for {defense!r}: {error}") from None
    return sorted(trials, key=lambda trial: (-trial.worst, -trial.accuracy))


def _tried(suite: Suite, defense: str, worst_case: bool) -> list[Cell]:
    """The defense's clean run, and those under the tuning attacks."""
    if worst_case:
        suite = suite.model_copy(update={"attack": suite.tuning_attack})
    cells = [cell for cell in suite.cells([defense]) if cell.kind == "training"]
    row = next(cell.label for cell in cells if cell.attack is None)
    mine = [cell for cell in cells if cell.label == row and not cell.level]
    return [cell for cell in mine if cell.attack is None or worst_case]


def _changed(cell: Cell, settings: dict[str, float], parameters: dict[str, float]) -> Cell:
    """The cell at a point of the grid."""
    federation = FederationSettings(**cell.federation.model_dump() | settings)
    part = make_part("defense", cell.defense.name, cell.defense.parameters | parameters)
    return cell.model_copy(update={"federation": federation, "defense": part})


def _trial(point: dict[str, float], cells: Iterable[Cell], dataset: "Dataset") -> Trial:
    from bench.plays.training import validation_accuracy

    results = {cell.column: validation_accuracy(cell, SEED, dataset) for cell in cells}
    return Trial(point, results.pop(CLEAN), results)


def _is_setting(key: str, defense: Part) -> bool:
    """Whether a key of the grid is the federation's; `server_lr` of both is the defense's."""
    return key in FederationSettings.model_fields and key not in defense.parameters


def print_trials(trials: list[Trial]) -> None:
    """The trials as a table, best first."""
    columns = list(trials[0].attacked)
    under = f", and under {len(columns)} tuning attack(s)" if columns else ""
    table = Table(title=f"{len(trials)} trials, validation accuracy of the clean run{under}")
    for name in [*trials[0].values, "validation accuracy", *columns, *(["worst"] if columns else [])]:
        table.add_column(name)
    for trial in trials:
        shown = [trial.accuracy, *trial.attacked.values(), *([trial.worst] if columns else [])]
        table.add_row(*(f"{value:g}" for value in trial.values.values()), *(f"{value:.2%}" for value in shown))
    tables.show(tables.console(), table)
