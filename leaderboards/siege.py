"""The board of the siege: beside the best single attack, row by row, and what makes one doubt it."""

from collections.abc import Mapping, Sequence
from statistics import fmean

import numpy as np
import pandas as pd

from bench.records import Record
from leaderboards.board import Board, Line, make_board, numbers
from leaderboards.estimates import Estimate, Estimates, of_values

CAPTION = (
    "Test accuracy in %, mean and 95 % t interval over the seeds. A siege plays whole runs, one under each of its "
    "members, and counts the one that left the attackers' images worst off; the best single attack is the other column "
    "with the same share of Byzantine clients that leaves the least, or, in a suite of sieges alone, the published "
    "attack among the members that does. Every row gets the same rounds, and as many evaluations of its rule as the "
    "members ask for. A siege that falls behind a single attack by more than its interval is not as strong as it "
    "should be, and the board says so."
)
CAMPAIGNS = ("look ahead", "bandit", "votes")
"""Members that no paper has as an attack of its own."""
FALLING = 0.02
"""By how much the last fifth of a curve must lie below the fifth before it, for the run to have ended too early."""
ALIKE = 0.005
"""Between all members, where forging does nothing: one image in two hundred."""


def is_siege(record: Record) -> bool:
    return record.siege is not None


def siege_board(rows: Sequence[str], accuracy: Estimates, training: pd.DataFrame, records: Sequence[Record]) -> Board:
    """A line for each row and siege; nothing to show where nobody besieged."""
    shares = {str(column): float(b) for column, b in training.groupby("column")["byzantine"].first().items()}
    sieges = list(dict.fromkeys(record.cell.column for record in records if is_siege(record)))
    lines: list[Line] = []
    for column in sieges:
        for row in rows:
            mine = [one for one in records if one.cell.label == row and one.cell.column == column and is_siege(one)]
            if not mine:
                continue
            others = [other for other, share in shares.items() if share == shares[column] and other not in sieges]
            best = _best(row, others, accuracy) or _best_member(mine)
            lines.append(_line(row, column, mine, best, accuracy[row, column]))
    known = {place: value for place, value in accuracy.items() if place[1] in sieges}
    return make_board("siege", "The siege against the best single attack", CAPTION, lines, numbers("accuracy", known))


def _best(row: str, columns: Sequence[str], accuracy: Estimates) -> tuple[str, Estimate] | None:
    """The column that leaves the least, and what it leaves."""
    found = {column: accuracy[row, column] for column in columns if (row, column) in accuracy}
    if not found:
        return None
    column = min(found, key=lambda name: found[name].score)
    return column, found[column]


def _best_member(mine: Sequence[Record]) -> tuple[str, Estimate] | None:
    """Where the suite has no other column: the single attack among the members that leaves the least, seed by seed."""
    left = [_members(record) for record in mine if record.status == "ok"]
    if not left:
        return None
    means = {name: fmean(one[name] for one in left) for name in left[0] if name not in CAMPAIGNS}
    name = min(means, key=means.__getitem__)
    return name, of_values(np.array([one[name] for one in left]), "accuracy")


def _line(row: str, column: str, mine: Sequence[Record], best: tuple[str, Estimate] | None, here: Estimate) -> Line:
    chosen = dict.fromkeys(record.siege.chosen for record in mine if record.siege)
    budgets = [record.siege for record in mine if record.siege]
    name, left, difference = "", "", ""
    if best is not None:
        name, left, difference = best[0], best[1].text(), f"{100 * (here.score - best[1].score):+.1f}"
    return {
        "defense": row,
        "siege": column,
        "left by the siege": here.text(),
        "best single attack": name,
        "left by it": left,
        "difference": difference,
        "played": ", ".join(chosen),
        "rounds": f"{fmean(one.rounds for one in budgets):,.0f}",
        "evaluations": f"{fmean(one.evaluations for one in budgets):,.0f}",
        "doubts": "; ".join(doubts(mine, best, here)),
    }


def doubts(mine: Sequence[Record], best: tuple[str, Estimate] | None, here: Estimate) -> list[str]:
    """What speaks against a row's siege: the flags of its records, which no number shows."""
    found = []
    if best is not None and here.score > best[1].score + _reach(here):
        found.append(f"{best[0]} harms more")
    if any(_is_moved_by_nothing(record) for record in mine):
        found.append("no member changes anything: the rule does not react to what is sent")
    if (falling := sum(_still_falls(record.curve) for record in mine)) > len(mine) / 2:
        found.append(f"accuracy still falls at the end in {falling} of {len(mine)} seeds: longer runs leave less")
    if any(_is_missed(record) for record in mine):
        found.append("a member harms the test images far more than the one that was chosen")
    return found


def _reach(here: Estimate) -> float:
    """Half the interval; what a single seed cannot tell counts as nothing."""
    if here.low == here.low:  # not nan
        return max(here.high - here.mean, 0.0)
    return here.half_width if here.half_width == here.half_width else 0.0


def _members(record: Record) -> Mapping[str, float]:
    return {name: one.accuracy for name, one in record.siege.members.items()} if record.siege else {}


def _is_moved_by_nothing(record: Record) -> bool:
    left = _members(record).values()
    return max(left) - min(left) <= ALIKE


def _is_missed(record: Record) -> bool:
    left = _members(record)
    return record.siege is not None and left[record.siege.chosen] - min(left.values()) > 5 * FALLING


def _still_falls(curve: Sequence[tuple[int, float]]) -> bool:
    """Whether the last fifth of the curve lies below the fifth before it."""
    fifth = len(curve) // 5
    if not fifth:
        return False
    before, last = (fmean(value for _, value in part) for part in (curve[-2 * fifth : -fifth], curve[-fifth:]))
    return last < before - FALLING
