"""A ranked board with a column for every attack, and its tables where one of them would be too wide to read."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from leaderboards.board import Board, Line, Number, Standing, make_board
from leaderboards.frame import WIDE, by_attack, tables

SUMMARY = "Each attack stands here with its worst column; the tables below have all columns."
PART = "Rows in the order of the table above, cells as told there."


@dataclass(frozen=True)
class Matrix:
    """What stands in a board's table: `cell(row, column)`, and `worst(row, columns)`, the worst of some columns.

    `worst` gives a text and the column, or "" where no column is worse than others; `below` are rows without a rank,
    and `most` columns are not too many for one table.
    """

    name: str
    title: str
    caption: str
    columns: Sequence[str]
    cell: Callable[[str, str], str]
    worst: Callable[[str, list[str]], tuple[str, str]]
    below: Sequence[str] = ()
    most: int = WIDE

    def boards(self, standing: Standing, data: list[Number]) -> list[Board]:
        """The board; behind it, where it would be too wide and has one column an attack, tables with all columns."""
        parts = tables(self.columns, self.most)
        ranked = standing.sort({"defense": row, "worst case": self._worst(row, self.columns)} for row in standing.ranks)
        if len(parts) <= 1:
            empty = dict.fromkeys(ranked[0] if ranked else ("rank", "defense", "worst case"), "")
            below = [{**empty, "defense": row} for row in self.below if self.columns]
            lines = [{**line, **self._cells(line["defense"], self.columns)} for line in ranked + below]
            return [make_board(self.name, self.title, self.caption, lines, data, standing)]
        lines = [{**line, **self._worst_of_each(line["defense"])} for line in ranked]
        summary = make_board(self.name, self.title, f"{self.caption} {SUMMARY}", lines, data, standing)
        rows = [line["defense"] for line in ranked] + list(self.below)
        return [summary, *(self._part(part, rows) for part in parts)]

    def _part(self, columns: list[str], rows: list[str]) -> Board:
        attacks = list(by_attack(columns))
        lines = [{"defense": row, **self._cells(row, columns)} for row in rows]
        title = f"{self.name.capitalize()} column by column: {', '.join(attacks)}"
        return make_board(f"{self.name}-{attacks[0]}", title, PART, lines, [])

    def _cells(self, row: str, columns: Sequence[str]) -> Line:
        return {column: self.cell(row, column) for column in columns}

    def _worst(self, row: str, columns: Sequence[str], attack: str = "") -> str:
        """`59.2% (sign_flip b=0.4)`, without the name of the attack where it stands above."""
        text, where = self.worst(row, list(columns))
        place = where.removeprefix(attack).strip()
        return f"{text} ({place})" if place else text

    def _worst_of_each(self, row: str) -> Line:
        return {attack: self._worst(row, columns, attack) for attack, columns in by_attack(self.columns).items()}
