"""`leaderboard`: the boards of a suite from its records."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import LoadOption, SuiteOption
from bench.commands.output import note, say


def leaderboard(
    suite: SuiteOption = "digits",
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the records; by default your own runs, else results.")
    ] = None,
    load: LoadOption = None,
    output_format: Annotated[str, typer.Option("--format", help="md, csv, latex, json or html (one page).")] = "md",
    output: Annotated[Path | None, typer.Option("--output", help="A file instead of the screen.")] = None,
) -> None:
    """The boards of a suite from its records."""
    from bench.runs import jobs

    text = jobs.leaderboard_text(suite, results, output_format, note)
    if output is None:
        say(text, nl=False)
    else:
        jobs.write_text(output, text)
