"""Runs of the suite of faults: undisturbed ones to compare with, and what they leave in a results folder."""

from pathlib import Path
from typing import Any

from bench.records import Store
from bench.runs import runner
from bench.suite import load
from tests.bench.helpers.stored import contents


def recorded(results: Path) -> dict[str, Any]:
    """What the records of the suite say."""
    return contents(Store(results, "faults"))


def hidden(folder: Path) -> list[str]:
    """The names of files that nobody is to see: locks, and what is not yet written whole."""
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def undisturbed(suite: Path, results: Path) -> dict[str, Any]:
    """What a run in this process records that lacks nothing; all of its cells must come out right."""
    loaded = load(str(suite))
    store = Store(results, loaded.name)
    tasks = runner.plan(loaded, loaded.cells(), store, None).tasks
    assert {record.status for record in runner.run(tasks, store, 1)} == {"ok"}
    return contents(store)


def undisturbed_rest(suite: Path, results: Path) -> dict[str, Any]:
    """What is recorded after such a run on a folder in which some records are, or all."""
    loaded = load(str(suite))
    store = Store(results, loaded.name)
    list(runner.run(runner.plan(loaded, loaded.cells(), store, None).tasks, store, 1))
    return recorded(results)
