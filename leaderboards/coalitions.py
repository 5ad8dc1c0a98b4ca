"""The board of both at once: a server and its Byzantine clients that forge and look, beside the same that only look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from bench.records import Record
from leaderboards.board import Board, Line, make_board, numbers
from leaderboards.estimates import CONFIDENCE, MISSING, Array, Estimate, Estimates, estimates, of_values, shares
from leaderboards.overall import LEAKING_SHARE

CAPTION = (
    "A coalition is the server and a share b of the clients, who tell it all that they know, and forge. Beside it "
    "stands the same coalition, with the same targets, that follows the protocol. Accuracy is that of the model in the "
    "last round that the server watches, in %, mean and 95 % t interval over the seeds, and 0 where the training "
    "diverged; recovered is the share of the targets' images, with the interval of the privacy board. Both are the "
    "worst over the columns, and what is worst stands behind. What forging adds is the difference of the two shares, "
    "paired by seed: the worst of several columns is above a single one by luck alone. ✗ where one column shows one "
    "image in ten more, or more than that, and its paired t interval, corrected for the number of columns "
    "(Bonferroni), lies above 0: whoever forges sees more."
)


@dataclass(frozen=True)
class Columns:
    """Of the coalitions of one Byzantine share: those that look on, and those that forge."""

    looking: Sequence[str]
    forging: Sequence[str]

    @classmethod
    def of(cls, records: Sequence[Record]) -> Mapping[float, Self]:
        """By Byzantine share."""
        cells = {record.cell.column: record.cell for record in records if record.cell.is_coalition}
        found = {}
        for share in dict.fromkeys(cell.byzantine for cell in cells.values()):
            mine = {column: cell for column, cell in cells.items() if cell.byzantine == share}
            looking = [column for column, cell in mine.items() if cell.forging is None]
            found[share] = cls(looking, [column for column in mine if column not in looking])
        return found


@dataclass(frozen=True)
class Both:
    """A row's lowest accuracy over some columns, its highest share of images recovered, and in which columns."""

    accuracy: Estimate
    breaks: str
    recovered: Estimate
    shows: str

    @classmethod
    def of(cls, row: str, columns: Sequence[str], accuracy: Estimates, recovered: Estimates) -> Self:
        """`MISSING` where the row has no record."""
        scores = {column: accuracy.get((row, column), MISSING) for column in columns}
        leaks = {column: recovered.get((row, column), MISSING) for column in columns}
        known = {column: one for column, one in scores.items() if one.seeds or one.failed}
        seen = {column: one for column, one in leaks.items() if one.seeds}
        breaks = min(known, key=lambda column: known[column].score, default="")
        shows = max(seen, key=lambda column: seen[column].mean, default="")
        return cls(known.get(breaks, MISSING), breaks, seen.get(shows, MISSING), shows)


@dataclass(frozen=True)
class Coalition:
    """What a coalition of a Byzantine share b does to a row: looking on, forging, and what it sees more by that."""

    row: str
    share: float
    looking: Both
    forging: Both
    added: Estimate
    sees_more: bool  # by forging, beyond luck


def coalitions(rows: Sequence[str], private: pd.DataFrame, records: Sequence[Record]) -> list[Coalition]:
    """A line for each row and Byzantine share that has records of both."""
    accuracy, recovered = estimates(private, "model_accuracy"), shares(private, "recovered")
    found = []
    for share, columns in Columns.of(records).items():
        for row in rows:
            looking = Both.of(row, columns.looking, accuracy, recovered)
            forging = Both.of(row, columns.forging, accuracy, recovered)
            if looking.breaks and forging.breaks:
                mine = private[private["defense"] == row]
                added = of_values(_added(mine, looking.shows, forging.shows), "recovered")
                more = any(
                    _beyond_luck(_added(mine, looking.shows, one), len(columns.forging)) for one in columns.forging
                )
                found.append(Coalition(row, share, looking, forging, added, more))
    return found


def _added(mine: pd.DataFrame, looking: str, forging: str) -> Array:
    """The differences of the shares that are recovered in two columns, in each seed that finished in both."""
    by_seed = [
        mine[(mine["column"] == column) & (mine["status"] == "ok")].set_index("seed")["recovered"]
        for column in (looking, forging)
    ]
    return np.asarray((by_seed[1] - by_seed[0]).dropna(), dtype=float)


def _beyond_luck(added: Array, columns: int) -> bool:
    """Whether a mean of at least `LEAKING_SHARE` lies above 0, as one of so many columns; never by a single seed."""
    if len(added) < 2 or added.mean() < LEAKING_SHARE:
        return False
    from scipy import stats  # here, because loading it takes long

    reach = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / columns, df=len(added) - 1) * stats.sem(added)
    return bool(added.mean() - reach > 0)


def coalition_board(found: Sequence[Coalition]) -> Board:
    """Nothing to show where no coalition forges."""
    several = len({one.share for one in found}) > 1
    lines = [_line(one, several) for one in sorted(found, key=_harmed)]
    measured = {
        "accuracy_looking": {(one.row, one.looking.breaks): one.looking.accuracy for one in found},
        "accuracy_forging": {(one.row, one.forging.breaks): one.forging.accuracy for one in found},
        "recovered_looking": {(one.row, one.looking.shows): one.looking.recovered for one in found},
        "recovered_forging": {(one.row, one.forging.shows): one.forging.recovered for one in found},
        "recovered_added": {(one.row, one.forging.shows): one.added for one in found},
    }
    data = [number for metric, values in measured.items() for number in numbers(metric, values)]
    return make_board("coalitions", "Both at once: forge and look", CAPTION, lines, data)


def _harmed(one: Coalition) -> tuple[float, float, float]:
    """The most accurate rows first, and of them those that show least."""
    leak = one.forging.recovered.mean
    return one.share, -round(one.forging.accuracy.score, 3), math.inf if math.isnan(leak) else leak


def _line(one: Coalition, several: bool) -> Line:
    known = not math.isnan(one.added.mean)
    return {
        "defense": one.row,
        **({"b": f"{one.share:g}"} if several else {}),
        "accuracy, looking": one.looking.accuracy.text(),
        "accuracy, forging": one.forging.accuracy.text(),
        "broken by": one.forging.breaks,
        "recovered, looking": one.looking.recovered.share(),
        "recovered, forging": one.forging.recovered.share(),
        "shown by": one.forging.shows or "–",
        "forging adds": (one.added.text() if known else "–") + (" ✗" if one.sees_more else ""),
    }
