"""`perf`: the benchmarks, their history, and the smoke suite's numbers."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import ArithmeticOption, DeviceOption, JsonOption, ResultsOption
from bench.commands.output import echo_json
from bench.runs import places


def perf(
    quick: Annotated[bool, typer.Option("--quick", help="Only the benchmarks marked quick.")] = False,
    save: Annotated[bool, typer.Option("--save", help="Append the run to the history.")] = False,
    compare: Annotated[
        str | None,
        typer.Option("--compare", metavar="[BASE]", help="Against the newest run, a commit's, or another history's."),
    ] = None,
    threshold: Annotated[float, typer.Option("--threshold", help="0.25: exit 1 where 25 % slower.")] = 0.25,
    plot: Annotated[Path | None, typer.Option("--plot", help="Draw the history; alone, it measures nothing.")] = None,
    summary: Annotated[Path | None, typer.Option("--summary", help="Markdown, for a pull request.")] = None,
    benchmarks: Annotated[Path, typer.Option("--benchmarks", help="Folder of them.")] = Path("tests/performance"),
    history: Annotated[Path, typer.Option("--history", help="File of the runs.")] = Path("results/perf/history.jsonl"),
    passes: Annotated[
        int, typer.Option("--passes", min=1, help="Processes that each play the set; 5 for a baseline.")
    ] = 3,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="No times: the smoke suite's numbers against the committed ones.")
    ] = False,
    results: ResultsOption = places.PUBLISHED,
    device: DeviceOption = "auto",
    arithmetic: ArithmeticOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time the benchmarks over calibration kernels; keep, compare and draw them. Or check the smoke suite's numbers."""
    from bench.perf import command

    request = command.Request(
        quick=quick,
        save=save,
        base=compare,
        threshold=threshold,
        plot=plot,
        summary=summary,
        benchmarks=benchmarks,
        history=history,
        passes=passes,
        accuracy=accuracy,
        results=places.to_read(results),
        device=device,
    )
    outcome = command.perform(request, quiet=as_json)
    if as_json:
        echo_json(outcome.as_dict())
    else:
        outcome.print()
    raise typer.Exit(1 if outcome.failed else 0)
