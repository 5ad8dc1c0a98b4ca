"""`site`: all boards, the documentation and a page for each defense and attack as one static site."""

from pathlib import Path
from typing import Annotated

import typer

from bench.commands.options import LoadOption
from bench.commands.output import note, say


def site(
    output: Annotated[Path, typer.Option("--output", help="Folder for the site; a new one, or an earlier site.")],
    results: Annotated[
        Path | None, typer.Option("--results", help="Folder of the records; by default the published ones, if any.")
    ] = None,
    load: LoadOption = None,
) -> None:
    """One static site of all suites that have records: it needs no server and asks nobody for anything."""
    from bench.runs import site as sites

    files, size = sites.make_site(output, results, note)
    say(sites.told(output, files, size))
