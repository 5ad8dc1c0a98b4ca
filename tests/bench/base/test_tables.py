"""Tables on a terminal of any width: whole words, no line beyond the edge, nothing left out."""

import io

import pytest
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.base import tables

ROWS = [
    ("1", "krum", "44.0% (sign_flip b=0.4)", "40.1 ± 23.4", "", "low clean accuracy; leaks to [every] privacy attack"),
    ("2", "niss as printed", "11.0% (sign_flip b=0.2)", "91.4 ± 3.9", "84.6 ± 8.7 †", "every sign_flip"),
]
HEADS = ("rank", "defense", "worst case", "clean", "gaussian b=0.2", "what breaks it")


def board(heads: tuple[str, ...] = HEADS, show_header: bool = True) -> Table:
    table = Table(title="Robustness", caption="† beyond the claim", show_header=show_header)
    for head in heads:
        table.add_column(head, overflow="fold")
    for row in ROWS:
        table.add_row(*map(escape, row[-len(heads) :]))
    return table


def printed(table: Table, width: int) -> list[str]:
    file = io.StringIO()
    tables.show(Console(width=width, file=file), table)
    return [line.rstrip() for line in file.getvalue().splitlines()]


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 150])
def test_every_word_is_whole_at_any_width(width: int) -> None:
    lines = printed(board(), width)
    assert max(map(len, lines)) <= width
    words = {word for line in lines for word in line.replace("│", " ").split()}
    assert {word.rstrip(":") for word in words} >= {
        word for row in (*ROWS, HEADS[1:]) for word in " ".join(row).split()
    }


def test_a_wide_terminal_has_the_table_and_a_narrow_one_a_block_a_row() -> None:
    assert any("│ krum" in line for line in printed(board(), 150))
    narrow = printed(board(HEADS[1:]), 40)
    assert "defense: krum" in narrow
    assert "  worst case: 44.0% (sign_flip b=0.4)" in narrow
    assert "  clean: 40.1 ± 23.4" in narrow
    first = narrow[: narrow.index("defense: niss as printed")]
    assert not any("gaussian" in line for line in first)  # empty cells are left out


def test_a_table_without_a_header_names_no_column() -> None:
    narrow = printed(board(HEADS[-3:], show_header=False), 24)
    assert narrow[1:4] == ["40.1 ± 23.4", "  low clean accuracy;", "  leaks to [every]"]
    assert "gaussian" not in "".join(narrow)


def test_a_long_word_such_as_a_path_does_not_undo_a_table() -> None:
    table = Table("row", "verdict")
    table.add_row("results/" + "x" * 60, "verified")
    lines = printed(table, 50)
    assert any(("verdict" in line and "│" in line) or "┃" in line for line in lines)
    assert max(map(len, lines)) <= 50


@pytest.mark.parametrize(("columns", "width"), [("70", 70), ("0", 150), ("wide", 150), (None, 150)])
def test_a_pipe_is_as_wide_as_columns_says(monkeypatch: pytest.MonkeyPatch, columns: str | None, width: int) -> None:
    monkeypatch.setattr("sys.stdout", io.StringIO())
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns is not None:
        monkeypatch.setenv("COLUMNS", columns)
    assert tables.console().width == width
