"""The suite from Python: what the command line does, as data frames."""

from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from bench.jobs import run_suite
from bench.records import Record, read
from leaderboards.frame import to_frame


def run(
    suite: str = "digits",
    defenses: Iterable[str] | None = None,
    attacks: Iterable[str] | None = None,
    seeds: Iterable[int] | None = None,
    workers: int = 1,
    results: str | Path | None = None,
) -> pd.DataFrame:
    """Run what is missing of a suite; one row a record of the cells asked for, as `load` gives them."""
    report = run_suite(
        suite,
        defenses=defenses or (),
        attacks=attacks or (),
        seeds=None if seeds is None else tuple(seeds),
        workers=workers,
        results=Path(results or "results"),
        quiet=True,
    )
    return to_frame(report.records)


def load(results: str | Path = "results") -> pd.DataFrame:
    """All records below a results folder, one row each; files that are no records are left out with a warning."""
    import warnings

    from bench.errors import BadInputError

    records: list[Record] = []
    for path in sorted(Path(results).glob("*/*/*/*.json")):
        if path.parts[-3] == "measurements":  # the papers': what is no record was never meant to be one
            continue
        try:
            records.append(read(path))
        except BadInputError as error:
            warnings.warn(str(error), stacklevel=2)
    return to_frame(records)
