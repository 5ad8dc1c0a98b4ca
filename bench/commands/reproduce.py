"""`reproduce`: the papers' tables and figures, ours beside theirs."""

from typing import Annotated

import typer

from bench.commands.options import (
    ArithmeticOption,
    DataOption,
    DeviceOption,
    QuietOption,
    ResultsOption,
    WorkersOption,
)
from bench.runs import places


def reproduce(
    papers: Annotated[list[str] | None, typer.Argument(help="niss, dpbfl; both by default.")] = None,
    only: Annotated[list[str] | None, typer.Option("--only", help="An item, such as table1 or dpbfl-table1.")] = None,
    results: ResultsOption = places.OWN,
    workers: WorkersOption = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0, in place of the suites' own.")] = None,
    data: DataOption = None,
    reduced: Annotated[bool, typer.Option("--reduced", help="Also the reduced forms that take an hour.")] = False,
    full: Annotated[bool, typer.Option("--full", help="All in full, which takes days.")] = False,
    form: Annotated[
        str | None, typer.Option("--form", help="The form of this name or number, as --estimate lists them.")
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Only time a round of each kind of cell: what each form would take.")
    ] = False,
    no_run: Annotated[bool, typer.Option("--no-run", help="Only the report, of the records that are there.")] = False,
    device: DeviceOption = "auto",
    arithmetic: ArithmeticOption = None,
    quiet: QuietOption = False,
) -> None:
    """The papers' tables and figures, ours beside theirs: run what is missing, then write runs/papers."""
    from bench.reproduce import command
    from bench.runs import jobs

    request = command.Request(
        papers=tuple(papers or ()),
        only=tuple(only or ()),
        results=results,
        workers=workers,
        seeds=jobs.parse_seeds(seeds),
        data_root=data,
        reduced=reduced,
        full=full,
        form=form,
        estimate=estimate,
        run=not no_run,
        device=device,
        quiet=quiet,
    )
    outcome = command.reproduce(request)
    if not quiet:
        outcome.print()
    raise typer.Exit(1 if outcome.unfinished else 0)
