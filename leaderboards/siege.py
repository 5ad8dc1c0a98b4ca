"""The board of the siege: beside the best single attack, row by row, and what makes one doubt it."""

from collections.abc import Sequence
from statistics import fmean

import numpy as np
import pandas as pd

from bench.records import Record, Siege
from leaderboards.board import Board, Line, make_board, numbers
from leaderboards.draws import hide_forging
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
MISSED = 0.1
"""By how much less than the chosen member another may leave of the test images, which the attackers do not have."""
ALIKE = 0.005
"""Between all members, where forging does nothing: one image in two hundred."""


Besieged = tuple[Record, Siege]
"""A record, and what its siege rehearsed."""


def siege_board(rows: Sequence[str], accuracy: Estimates, training: pd.DataFrame, records: Sequence[Record]) -> Board:
    """A line for each row and siege; nothing to show where nobody besieged."""
    shares = {str(column): float(b) for column, b in training.groupby("column")["byzantine"].first().items()}
    sieges: dict[str, dict[str, list[Besieged]]] = {}
    for record in records:
        if record.siege is not None:
            sieges.setdefault(record.cell.column, {}).setdefault(record.cell.label, []).append((record, record.siege))
    lines: list[Line] = []
    for column, besieged in sieges.items():
        others = [other for other, share in shares.items() if share == shares[column] and other not in sieges]
        for row in filter(besieged.__contains__, rows):
            best = _best(row, others, accuracy) or _best_member(besieged[row])
            lines.append(_line(row, column, besieged[row], best, accuracy[row, column]))
    known = {place: value for place, value in accuracy.items() if place[1] in sieges}
    return make_board("siege", "The siege against the best single attack", CAPTION, lines, numbers("accuracy", known))


def _best(row: str, columns: Sequence[str], accuracy: Estimates) -> tuple[str, Estimate] | None:
    """The column that leaves the least, and what it leaves."""
    results = {column: accuracy[row, column] for column in columns if (row, column) in accuracy}
    if not results:
        return None
    column = min(results, key=lambda name: results[name].score)
    return column, results[column]


def _best_member(mine: Sequence[Besieged]) -> tuple[str, Estimate] | None:
    """Where the suite has no other column: the single attack among the members that leaves the least, seed by seed."""
    left = [_left(siege) for record, siege in mine if record.status == "ok"]
    if not left:
        return None
    means = {name: fmean(one[name] for one in left) for name in left[0] if name not in CAMPAIGNS}
    name = min(means, key=means.__getitem__)
    return name, of_values(np.array([one[name] for one in left]), "accuracy")


def _line(row: str, column: str, mine: Sequence[Besieged], best: tuple[str, Estimate] | None, here: Estimate) -> Line:
    sieges = [siege for _, siege in mine]
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
        "played": ", ".join(dict.fromkeys(one.chosen for one in sieges)),
        "rounds": f"{fmean(one.rounds for one in sieges):,.0f}",
        "evaluations": f"{fmean(one.evaluations for one in sieges):,.0f}",
        "doubts": "; ".join(doubts(mine, best, here)),
    }


def doubts(mine: Sequence[Besieged], best: tuple[str, Estimate] | None, here: Estimate) -> list[str]:
    """What speaks against a row's siege: the flags of its records, which no number shows."""
    results = []
    if best is not None and here.score > best[1].score + here.ends[1] - here.mean:
        results.append(f"{best[0]} harms more")
    left = [_left(siege) for _, siege in mine]
    if any(max(one.values()) - min(one.values()) <= ALIKE for one in left):
        results.append("no member changes anything: the rule does not react to what is sent")
    if (falling := sum(_still_falls(record.curve) for record, _ in mine)) > len(mine) / 2:
        results.append(f"accuracy still falls at the end in {falling} of {len(mine)} seeds: longer runs leave less")
    if any(one[siege.chosen] - min(one.values()) > MISSED for one, (_, siege) in zip(left, mine, strict=True)):
        results.append("a member harms the test images far more than the one that was chosen")
    if mine and hide_forging(mine[0][0].cell):
        results.append("the rule's random draws move the model as much as forging does: members that search are blind")
    return results


def _left(siege: Siege) -> dict[str, float]:
    """The accuracy on the test images that each member left."""
    return {name: one.accuracy for name, one in siege.members.items()}


def _still_falls(curve: Sequence[tuple[int, float]]) -> bool:
    """Whether the last fifth of the curve lies below the fifth before it."""
    fifth = len(curve) // 5
    if not fifth:
        return False
    before, last = (fmean(value for _, value in part) for part in (curve[-2 * fifth : -fifth], curve[-fifth:]))
    return last < before - FALLING
