"""`list`: what there is, with a line each."""

import os
import shutil
import sys
import textwrap
from collections.abc import Mapping
from typing import Annotated

import typer

from bench.commands import catalogue
from bench.commands.options import JsonOption, LoadOption
from bench.commands.output import echo_json, say

NARROWEST = 24
"""Columns that are left for what stands behind a name, however narrow the terminal is."""


def list_(
    kind: Annotated[str | None, typer.Argument(help="defenses, attacks, datasets, models or suites.")] = None,
    load: LoadOption = None,
    as_json: JsonOption = False,
) -> None:
    """What there is, with a line each."""
    result = catalogue.listing(kind)
    if as_json:
        echo_json(result)
        return
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    width = shutil.get_terminal_size((0, 0)).columns if on_terminal or "COLUMNS" in os.environ else 0
    for title, entries in result.items():
        say(f"{title}:")
        for line in aligned(entries, width):
            say(line)


def aligned(entries: Mapping[str, str], width: int) -> list[str]:
    """Names and, in a column of their own, what stands behind them, wrapped to a width; 0 is none, as of a pipe."""
    margin = max(map(len, entries), default=0) + 4
    lines = []
    for name, text in entries.items():
        room = max(width - margin, NARROWEST) if width else len(text) + 1
        first, *more = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines += [f"  {name:<{margin - 4}}  {first}", *(f"{'':<{margin}}{one}" for one in more)]
    return lines
