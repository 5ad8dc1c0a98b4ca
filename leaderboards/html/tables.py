"""Boards as tables of the page: the texts of the Markdown, with a key to sort by, a shade, and a way to the records."""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from leaderboards.board import REACH, Board, Line
from leaderboards.estimates import Estimate
from leaderboards.html.leads import MEASURED, Leads, Place, metric_of
from leaderboards.wide import SUMMARY

SHADES = 10
"""Steps of a shade from 0 to 1."""
SHADED = {"robustness": "good", "backdoor": "bad", "privacy": "bad", "membership": "bad", "property": "bad"}
"""Boards whose number is a fraction, and whether a high one is good."""
BEFORE = ("rank", REACH, "worst case")
"""What stands before the columns of a board that has further tables."""
EMPTY = ("", "–")
UNITS = {"kB": 1e3, "MB": 1e6, "GB": 1e9}
LEADING = re.compile(r"^(?:ε [=≥] )?([-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?)\s*(kB|MB|GB)?")

Key = float | str | None


@dataclass(frozen=True)
class Entry:
    """One cell of a table: `key` sorts it, `score` is what ranks it, `shade` 0 to `SHADES`, `place` has its records."""

    text: str
    more: str = ""
    key: Key = None
    score: float | None = None
    shade: int | None = None
    place: Place | None = None


@dataclass(frozen=True)
class Head:
    """A column's name, its threat model if it is one, and whether the first click puts the highest number on top."""

    text: str
    column: str | None = None
    descending: bool = False


@dataclass(frozen=True)
class Row:
    """A defense, or a control, which has no rank and stays below."""

    label: str
    entries: list[Entry]
    control: bool = False
    group: int | None = None  # of those that share its rank


@dataclass(frozen=True)
class Table:
    """A board for the page; `shaded` is `good` or `bad`, what a high number is, or "" without shades."""

    name: str
    title: str
    caption: str
    heads: list[Head]
    rows: list[Row]
    shaded: str = ""

    @property
    def ranked(self) -> list[Row]:
        return [row for row in self.rows if not row.control]

    @property
    def controls(self) -> list[Row]:
        return [row for row in self.rows if row.control]


def tables(boards: Sequence[Board], leads: Leads) -> list[Table]:
    """One table a board with anything in it; tables that a wide board was split into are one again."""
    return [_table(family, leads) for family in _families(boards)]


def _families(boards: Sequence[Board]) -> Iterator[list[Board]]:
    """Each board with the tables that hold its columns, if it has some: `privacy`, `privacy-dlg`, ..."""
    names = {board.name for board in boards}
    shown = [board for board in boards if len(board.text)]
    for board in shown:
        if board.name.partition("-")[0] not in names - {board.name}:
            yield [board, *(part for part in shown if part.name.startswith(f"{board.name}-"))]


def _table(family: list[Board], leads: Leads) -> Table:
    main, parts = family[0], family[1:]
    summary = {line["defense"]: line for line in _lines(main)}
    texts = {
        (line["defense"], header): text
        for board in parts or [main]
        for line in _lines(board)
        for header, text in line.items()
        if header in leads.columns
    }
    headers = [header for line in summary.values() for header in line]
    before = [
        header
        for header in dict.fromkeys(headers)
        if header in BEFORE or not (parts or header in leads.columns or header == "defense")
    ]
    columns = [column for column in leads.columns if any(column == header for _, header in texts)]
    result = metric_of(main, MEASURED.get(main.name, ""))
    rows = []
    for label in dict.fromkeys([*summary, *(row for row, _ in texts)]):
        beside = {header: summary.get(label, {}).get(header, "") for header in before}
        entries = [
            Entry(text, place=None if text in EMPTY else leads.of(main.name, label, header, text))
            for header, text in beside.items()
        ]
        for column in columns:
            entry = _measured(main.name, texts.get((label, column), "–"), result.get((label, column)))
            entries.append(replace(entry, place=leads.at(label, column)))
        control = bool(main.standing.ranks) and label not in main.standing.ranks
        rows.append(Row(label, entries, control, main.standing.group.get(label)))
    heads = [*map(Head, before), *(Head(column, column) for column in columns)]
    caption = main.caption.replace(f" {SUMMARY}", "")  # the page has all columns in one table
    return Table(main.name, main.title, caption, *_sortable(heads, rows), SHADED.get(main.name, ""))


def _lines(board: Board) -> list[Line]:
    """The board's rows, a defense each, also where the table has a line an attack."""
    text = board.text
    if "defense" not in text:
        text = text.set_index(text.columns[0]).T.rename_axis("defense").reset_index()
    return [{str(header): str(value) for header, value in line.items()} for line in text.to_dict(orient="records")]


def _measured(board: str, text: str, value: Estimate | None) -> Entry:
    """A number in a column; what failed counts as the ranking counts it."""
    first, _, more = text.partition(" · ")
    score = math.nan if value is None else value.score if board == "robustness" else value.mean
    if math.isnan(score):
        return Entry(first, more)
    shade = round(min(max(score, 0.0), 1.0) * SHADES) if board in SHADED else None
    return Entry(first, more, key=score, score=score, shade=shade)


def _sortable(heads: list[Head], rows: list[Row]) -> tuple[list[Head], list[Row]]:
    """With keys for the columns that have none."""
    keyed = []
    for index, head in enumerate(heads):
        some = [row.entries[index] for row in rows]
        known = [entry.key for entry in some]
        keyed.append(known if any(key is not None for key in known) else sort_keys([entry.text for entry in some]))
        numeric = any(isinstance(key, float) for key in keyed[-1])
        heads[index] = replace(head, descending=numeric and head.column is not None)
    lines = [
        replace(row, entries=[replace(entry, key=keys[line]) for entry, keys in zip(row.entries, keyed, strict=True)])
        for line, row in enumerate(rows)
    ]
    return heads, lines


def sort_keys(texts: Sequence[str]) -> list[Key]:
    """What texts sort by: numbers, where half of them begin with one, or else the texts; None where there is none."""
    numbers = [leading_number(text) for text in texts]
    filled = [text for text in texts if text not in EMPTY]
    if filled and 2 * sum(number is not None for number in numbers) >= len(filled):
        return list(numbers)
    return [None if text in EMPTY else text.casefold() for text in texts]


def leading_number(text: str) -> float | None:
    """The number that a text begins with: 1e6 for `1 MB`, 10 for `ε = 10, δ = 0.1`."""
    match = LEADING.match(text)
    return float(match[1].replace(",", "")) * UNITS.get(match[2], 1.0) if match else None
