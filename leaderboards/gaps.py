"""What rows lack beside others: a row without its worst column, or its worst seed, is not ranked as a whole one.

Only rows that were played in the same columns and seeds compare. What nobody has played is no gap: a run of one attack
alone, or of one seed, ranks its rows by that.
"""

from collections.abc import Iterable, Mapping

import pandas as pd

from leaderboards.frame import LISTED, Selection

Gaps = Mapping[str, list[str]]
"""By row, the columns in which it has fewer seeds than other rows have; rows that lack nothing are not there."""


def find_gaps(rows: Iterable[str], frame: pd.DataFrame, selection: Selection) -> Gaps:
    """Of the rows among these records, in the columns that the suite asks of each row."""
    mine: dict[tuple[str, str], set[int]] = {}
    all_rows: dict[str, set[int]] = {}
    for row, column, seed in zip(frame["defense"], frame["column"], frame["seed"], strict=True):
        mine.setdefault((row, column), set()).add(seed)
        all_rows.setdefault(column, set()).add(seed)
    results = {
        row: [
            column
            for column, seeds in all_rows.items()
            if selection.expects(row, column) and seeds - mine.get((row, column), set())
        ]
        for row in rows
    }
    return {row: columns for row, columns in results.items() if columns}


def told(boards: Mapping[str, Gaps]) -> list[str]:
    """One line about the rows that are not ranked, or none."""
    rows = list(dict.fromkeys(row for gaps in boards.values() for row in gaps))
    if not rows:
        return []
    more = f" and {len(rows) - LISTED} more" if len(rows) > LISTED else ""
    where = ", ".join(name for name, gaps in boards.items() if gaps)
    return [f"no rank in {where}: {', '.join(rows[:LISTED])}{more} (columns or seeds missing that other rows have)"]
