"""`tune`: the suite's search grid for one defense, on the clean run's validation split, with a seed of its own."""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from pydantic import ValidationError
from rich.table import Table

from bench.base import tables
from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.names import unknown
from bench.base.threads import blas_threads
from bench.federation.settings import FederationSettings
from bench.suite import Part, make_part
from bench.suite import load as load_suite

SEED = 1_000_003
"""Partition, batches and noise of the search; no board has a record with it."""


@dataclass(frozen=True)
class Trial:
    """One point of the grid and its validation accuracy."""

    values: dict[str, float]
    accuracy: float

    def as_dict(self) -> dict[str, float]:
        return {**self.values, "validation_accuracy": self.accuracy}


def search(suite: str, defense: str, data_root: str | None, changes: Iterable[str] = ()) -> list[Trial]:
    """Every point of `[tune.DEFENSE]`, best first; a key is a parameter of the defense or a federation setting."""
    import torch

    from bench.data import load
    from bench.plays.training import validation_accuracy

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
    clean = next(cell for cell in loaded.cells([defense]) if cell.attack is None)
    trials = []
    for values in itertools.product(*grid.values()):
        point = dict(zip(grid, values, strict=True))
        settings = {key: value for key, value in point.items() if _is_setting(key, clean.defense)}
        parameters = {key: value for key, value in point.items() if key not in settings}
        try:
            federation = FederationSettings(**clean.federation.model_dump() | settings)
            part = make_part("defense", clean.defense.name, clean.defense.parameters | parameters)
            cell = clean.model_copy(update={"federation": federation, "defense": part})
            with blas_threads(loaded.threads):
                trials.append(Trial(point, validation_accuracy(cell, SEED, dataset)))
        except ValidationError as error:
            raise BadInputError(f"search grid for {defense!r}: {explain(error)}") from None
        except ValueError as error:
            raise BadInputError(f"search grid for {defense!r}: {error}") from None
    return sorted(trials, key=lambda trial: -trial.accuracy)


def _is_setting(key: str, defense: Part) -> bool:
    """Whether a key of the grid is the federation's; `server_lr` of both is the defense's."""
    return key in FederationSettings.model_fields and key not in defense.parameters


def print_trials(trials: list[Trial]) -> None:
    """The trials as a table, best first."""
    table = Table(title=f"{len(trials)} trials, validation accuracy of the clean run")
    for name in [*trials[0].values, "validation accuracy"]:
        table.add_column(name)
    for trial in trials:
        table.add_row(*(f"{value:g}" for value in trial.values.values()), f"{trial.accuracy:.2%}")
    tables.show(tables.console(), table)
