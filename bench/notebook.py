"""The suite from Python: what the command line does, as data frames."""

import re
from collections.abc import Iterable
from numbers import Integral
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from bench import registry
from bench.base.errors import BadInputError
from bench.protocol import Defense
from bench.records import Store, contents
from bench.runs import places, runner
from bench.runs.jobs import run_suite
from bench.suite import DefenseEntry, load_family
from bench.suite import load as load_suite
from leaderboards.frame import to_frame


def run(
    suite: str = "digits",
    defenses: Iterable[str] | None = None,
    attacks: Iterable[str] | None = None,
    seeds: Iterable[int] | int | None = None,
    workers: int = 1,
    results: str | Path | None = None,
    load: Iterable[str | Path] | str | Path = (),
) -> pd.DataFrame:
    """Run what is missing of a suite; one row a record of the cells asked for, as `load` gives them.

    Records go to `results`, by default to `runs`, as on the command line; those of a family of suites, whose federation
    has a list, come one suite after another, told apart by `suite`. One defense, attack or seed may stand for a
    list of one. Files in `load` register defenses, attacks, data sets and models of one's own, as `--load` does; one
    that has changed since is taken anew.
    """
    registry.load_files([load] if isinstance(load, str | Path) else load)
    reports = [
        run_suite(
            one,
            defenses=defenses or (),
            attacks=attacks or (),
            seeds=_checked(seeds),
            workers=workers,
            results=Path(results or places.OWN),
            quiet=True,
        )
        for one in load_family(suite)
    ]
    return to_frame(record for report in reports for record in report.records)


def evaluate(
    defense: type[Defense],
    suite: str = "digits",
    attacks: Iterable[str] | None = None,
    seeds: Iterable[int] | int | None = None,
    results: str | Path | None = None,
    **entry: Any,
) -> pd.DataFrame:
    """One's own class, registered or not, in a suite; below its records those that `results` holds of the suite's rows.

    Without `results` these are the user's own of `runs` where there are some, else the published ones.
    `entry` is what a `[[defense]]` table may have: parameters, where a list is a sweep, `label`, `federation`. It is
    played anew, in this process, and nothing is kept, because a class in a notebook changes under its name. Raises
    `BadInputError` for what is no defense, for a taken name, and for whatever a suite refuses.
    """
    if not (isinstance(defense, type) and issubclass(defense, Defense)):
        raise BadInputError(f"bench.evaluate takes a subclass of bench.protocol.Defense, and was given {defense!r}")
    shipped = load_suite(suite)
    if (chosen := _checked(seeds)) is not None:
        shipped = shipped.with_seeds(chosen)
    name = defense.__dict__.get("name") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", defense.__name__).lower()
    with registry.known("defense", name, defense), TemporaryDirectory() as folder:
        own = shipped.model_copy(update={"defense": (DefenseEntry(name=name, **entry),)})
        store = Store(Path(folder), shipped.name)
        tasks = runner.plan(own, own.cells(attacks=attacks or ()), store, None).tasks
        records = list(runner.run(tasks, store, workers=1))
    kept = Store(places.to_read(Path(results)) if results else places.of_suite(shipped.name), shipped.name)
    return to_frame([*records, *runner.plan(shipped, shipped.cells(attacks=attacks or ()), kept, None).present])


def load(results: str | Path | None = None) -> pd.DataFrame:
    """All records below a results folder, one row each; files that are no records are left out with a warning.

    Without a folder these are the user's own of `runs` where there are some, else the published ones of `results`.
    Raises `BadInputError` where there is no such folder, or nothing of that kind in it.
    """
    import warnings

    folder = places.to_read(Path(results)) if results else places.of_all()
    if not folder.is_dir():
        raise BadInputError(f"there is no folder {folder}: give the one that runs write to, such as runs")
    result = contents(folder)
    if not result.records and not result.problems:
        raise BadInputError(f"no records in {folder}: they lie there as SUITE/ROW/ATTACK/RECORD.json")
    for problem in result.problems:
        warnings.warn(problem.line, stacklevel=2)
    return to_frame(result.records.values())


def _checked(seeds: Iterable[int] | int | None) -> tuple[int, ...] | None:
    """Whole numbers, each once; `BadInputError` for anything else."""
    if seeds is None:
        return None
    given = (seeds,) if isinstance(seeds, int) else tuple(seeds)
    whole = all(isinstance(seed, Integral) and not isinstance(seed, bool) for seed in given)
    if not given or not whole or len(set(given)) < len(given):
        raise BadInputError(f"seeds is {seeds!r}, but must be whole numbers, each once, such as [0, 1, 2]")
    return tuple(map(int, given))
