"""`submit`: a file of somebody's own becomes a row beside the shipped ones."""

from typing import Annotated

import typer

from bench.commands.options import (
    ArithmeticOption,
    DataOption,
    JsonOption,
    LoadOption,
    QuietOption,
    ResultsOption,
    SuiteOption,
    TrustOption,
    WorkersOption,
)
from bench.commands.output import echo_json, note, say
from bench.runs import places


def submit(
    source: Annotated[str, typer.Argument(metavar="FILE.py[:Class]", help="A defense, or an attack.")],
    suite: SuiteOption = "digits",
    results: ResultsOption = places.PUBLISHED,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE: a parameter of it, lr, lr_decay or momentum.")
    ] = None,
    against: Annotated[list[str] | None, typer.Option("--against", help="For an attack: the rows.")] = None,
    byzantine: Annotated[list[float] | None, typer.Option("--byzantine", help="For an attack that forges: b.")] = None,
    check_only: Annotated[bool, typer.Option("--check-only", help="The contract, and no suite.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Run what breaks the contract; its row is marked.")] = False,
    workers: WorkersOption = None,
    trust: TrustOption = False,
    data: DataOption = None,
    cell_timeout: Annotated[float, typer.Option("--cell-timeout", metavar="SECONDS")] = 600.0,
    cell_memory: Annotated[int, typer.Option("--cell-memory", metavar="MB", min=1)] = 4096,
    load: LoadOption = None,
    arithmetic: ArithmeticOption = None,
    all_boards: Annotated[
        bool, typer.Option("--all", help="Print all boards whole, not its row's lines alone.")
    ] = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check a file of your own against the contract, run the suite for it, and write its folder for a pull request."""
    from bench.submission import submit as submission

    request = submission.Request(
        source=source,
        suite=suite,
        results=results,
        changes=tuple(changes or ()),
        against=tuple(against or ()),
        byzantine=tuple(byzantine or ()),
        workers=workers,
        data_root=data,
        check_only=check_only,
        anyway=anyway,
        cell_timeout=cell_timeout,
        cell_memory=cell_memory,
        all_boards=all_boards,
        quiet=quiet or as_json,
    )
    note(submission.WARNING.format(path=source))
    report = submission.submit(request, (lambda line: None) if request.quiet else say)
    if as_json:
        echo_json(report.as_dict())
    elif quiet and (told := report.broken_line()):
        note(f"fedsiege: {source} {told}")
    raise typer.Exit(1 if report.failed else 0)
