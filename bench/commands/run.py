"""`run`: what a suite still misses, its boards, and how the records agree with the published ones."""

from typing import Annotated

import typer

from bench.commands.options import (
    AllOption,
    ArithmeticOption,
    DataOption,
    DeviceOption,
    JsonOption,
    LoadOption,
    QuietOption,
    ResultsOption,
    SetOption,
    SuiteOption,
    WorkersOption,
)
from bench.commands.output import echo_json, say
from bench.runs import places


def run(
    suite: SuiteOption = "digits",
    defense: Annotated[list[str] | None, typer.Option("--defense", help="Only these rows.")] = None,
    attack: Annotated[list[str] | None, typer.Option("--attack", help="Only these attacks, and the clean run.")] = None,
    seeds: Annotated[str | None, typer.Option("--seeds", help="Such as 0,1,2.")] = None,
    changes: SetOption = None,
    workers: WorkersOption = None,
    results: ResultsOption = places.OWN,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run again what has a record.")] = False,
    data: DataOption = None,
    device: DeviceOption = "auto",
    cell_timeout: Annotated[
        float | None, typer.Option("--cell-timeout", metavar="SECONDS", help="A cell that takes longer is failed.")
    ] = None,
    cell_memory: Annotated[
        int | None,
        typer.Option("--cell-memory", metavar="MB", min=1, help="A cell whose worker holds more MiB is failed."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option("--ray", metavar="ADDRESS", help="auto, HOST:PORT or local: cells run on a Ray cluster."),
    ] = None,
    load: LoadOption = None,
    arithmetic: ArithmeticOption = None,
    all_boards: AllOption = False,
    quiet: QuietOption = False,
    as_json: JsonOption = False,
) -> None:
    """Run what a suite still misses, write its leaderboards, and hold its records against the published ones."""
    from bench.runs import jobs
    from bench.suite import load_family

    family, reports = list(load_family(suite, changes or ())), []
    for one in family:
        report = jobs.run_suite(
            one,
            defenses=defense or (),
            attacks=attack or (),
            seeds=jobs.parse_seeds(seeds),
            changes=changes or (),
            workers=workers,
            results=results,
            fresh=fresh,
            data_root=data,
            device=device,
            quiet=quiet or as_json,
            limits=jobs.parse_limits(cell_timeout, cell_memory),
            ray=ray,
        )
        reports.append(report)
        if not (as_json or quiet):
            if len(family) > 1:
                say(f"{report.suite.name}: {report.suite.title}")
            report.print(all_boards)
    if as_json:
        summaries = [report.summary() for report in reports]
        echo_json(summaries if len(family) > 1 else summaries[0])
    raise typer.Exit(1 if any(report.unfinished for report in reports) else 0)
