"""`list`: what there is, with a line each."""

from typing import Annotated

import typer

from bench.commands import catalogue
from bench.commands.options import JsonOption, LoadOption
from bench.commands.output import echo_json, say


def list_(
    kind: Annotated[str | None, typer.Argument(help="defenses, attacks, datasets, models or suites.")] = None,
    load: LoadOption = None,
    as_json: JsonOption = False,
) -> None:
    """What there is, with a line each."""
    found = catalogue.listing(kind)
    if as_json:
        echo_json(found)
        return
    for title, entries in found.items():
        say(f"{title}:")
        for name, line in entries.items():
            say(f"  {name:<16} {line}")
