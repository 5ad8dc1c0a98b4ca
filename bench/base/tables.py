"""Tables on the terminal, however narrow it is."""

import os

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH = 150
"""Columns of what goes to a file or a pipe."""

LONGEST_WORD = 20
"""Characters of a word that stay together; a longer one, such as a path, may be broken."""


def console() -> Console:
    """The terminal, or what stands in its place, at a width that holds a board, or at that of COLUMNS."""
    result = Console()
    return result if result.is_terminal or _asked_for_columns() else Console(width=WIDTH)


def _asked_for_columns() -> bool:
    """Whether the environment says how wide output is to be, which rich follows."""
    columns = os.environ.get("COLUMNS", "")
    return columns.isdecimal() and int(columns) > 0


def show(console: Console, table: Table) -> None:
    """Print the table; where the console is narrower than its words, a block for each row instead."""
    columns = [[Text.from_markup(str(cell)) for cell in column.cells] for column in table.columns]
    heads = [Text.from_markup(str(column.header)) for column in table.columns]
    held = ([*cells, *([head] if table.show_header else [])] for head, cells in zip(heads, columns, strict=True))
    if sum(max(map(_widest_word, cells), default=0) + 3 for cells in held) < console.width:
        console.print(table)
        return
    if table.title:
        console.print(table.title, style="table.title")
    for cells in zip(*columns, strict=True):
        for place, (head, cell) in enumerate(zip(heads, cells, strict=True)):
            if cell.plain:
                line = Text.assemble(head, ": ", cell) if table.show_header else cell
                console.print(Padding(line, (0, 0, 0, 2 if place else 0)), style="" if place else "bold")
    if table.caption:
        console.print(table.caption, style="table.caption")


def _widest_word(cell: Text) -> int:
    return min(LONGEST_WORD, max((Text(word).cell_len for word in cell.plain.split()), default=0))
