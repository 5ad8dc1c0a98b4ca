"""The board of both at once: a server and its Byzantine clients that forge and look, beside the same that only look."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from bench.records import Record
from bench.suite.cell import KindName
from leaderboards.board import Board, Line, make_board, numbers
from leaderboards.estimates import CONFIDENCE, MISSING, Array, Estimate, Estimates, estimates, of_values, shares
from leaderboards.overall import LEAKING_SHARE

WHO = (
    "A coalition is the server and a share b of the clients, who tell it all that they know, and forge. Beside it "
    "stands the same coalition, with the same targets, that follows the protocol. Accuracy is that of the {model}, "
    "in %, mean and 95 % t interval over the seeds, and 0 where the training diverged; {leak}. Both are the worst over "
    "the columns, and what is worst stands behind. What forging adds is the difference of the two, paired by seed: the "
    "worst of several columns is above a single one by luck alone. ✗ where one column shows {least} more, or more than "
    "that, and its paired t interval, corrected for the number of columns (Bonferroni), lies above 0: whoever forges "
    "sees more."
)


@dataclass(frozen=True)
class Leak:
    """What a coalition looks for: the metric that tells how much it finds, and how that is shown."""

    kind: KindName
    metric: str
    word: str  # the heads of the board's columns
    board: str
    title: str
    caption: str
    least: float  # what counts as more
    axis: str  # of the picture
    ends: tuple[float, float]  # of that axis, at least
    picture: str  # its file's name
    heading: str  # what stands above it
    more: str  # what forging shows, for its title

    def measured(self, frame: pd.DataFrame) -> Estimates:
        return shares(frame, self.metric) if self.is_share else estimates(frame, self.metric)

    def text(self, found: Estimate) -> str:
        return found.share() if self.is_share else found.text(scale=1.0, digits=2)

    def added(self, found: Estimate) -> str:
        return found.text() if self.is_share else found.text(scale=1.0, digits=2)

    @property
    def is_share(self) -> bool:
        """Of images, of which a record has a number; any other metric is a mean over the seeds."""
        return self.kind == "inversion"


IMAGES = Leak(
    kind="inversion",
    metric="recovered",
    word="recovered",
    board="coalitions",
    title="Both at once: forge and look",
    caption=WHO.format(
        model="model in the last round that the server watches",
        leak="recovered is the share of the targets' images, with the interval of the privacy board",
        least="one image in ten",
    ),
    least=LEAKING_SHARE,
    axis="images recovered in %, worst attack",
    ends=(-0.04, 1.04),
    picture="both",
    heading="Forge and look at once",
    more="one image in ten more",
)
MEMBERS = Leak(
    kind="membership",
    metric="membership_auc",
    word="AUC",
    board="poisoned_membership",
    title="Both at once: forge, and tell who was in it",
    caption=WHO.format(
        model="last model",
        leak="AUC is that of an attack on membership, where a guess has 0.5, with the same interval",
        least="0.05 of AUC",
    ),
    least=0.05,
    axis="AUC of membership in %, worst attack",
    ends=(0.48, 0.8),
    picture="poisoned_membership",
    heading="Both at once: forge, and tell who was in it",
    more="0.05 of AUC more",
)
LEAKS = (IMAGES, MEMBERS)


@dataclass(frozen=True)
class Columns:
    """Of the coalitions of one Byzantine share: those that look on, and those that forge."""

    looking: Sequence[str]
    forging: Sequence[str]

    @classmethod
    def of(cls, records: Sequence[Record], kind: KindName) -> Mapping[float, Self]:
        """By Byzantine share."""
        mine = (record.cell for record in records if record.cell.kind == kind and record.cell.is_coalition)
        cells = {cell.column: cell for cell in mine}
        results = {}
        for share in dict.fromkeys(cell.byzantine for cell in cells.values()):
            whose = {column: cell for column, cell in cells.items() if cell.byzantine == share}
            looking = [column for column, cell in whose.items() if cell.forging is None]
            results[share] = cls(looking, [column for column in whose if column not in looking])
        return results


@dataclass(frozen=True)
class Both:
    """A row's lowest accuracy over some columns, the most that is seen of it, and in which columns."""

    accuracy: Estimate
    breaks: str
    seen: Estimate
    shows: str

    @classmethod
    def of(cls, row: str, columns: Sequence[str], accuracy: Estimates, leaks: Estimates) -> Self:
        """`MISSING` where the row has no record."""
        scores = {column: accuracy.get((row, column), MISSING) for column in columns}
        results = {column: leaks.get((row, column), MISSING) for column in columns}
        known = {column: one for column, one in scores.items() if one.seeds or one.failed}
        seen = {column: one for column, one in results.items() if one.seeds}
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


def coalitions(
    rows: Sequence[str], private: pd.DataFrame, records: Sequence[Record], leak: Leak = IMAGES
) -> list[Coalition]:
    """A line for each row and Byzantine share that has records of both; `private` are those of the leak's kind."""
    accuracy, seen = estimates(private, "model_accuracy"), leak.measured(private)
    results = []
    for share, columns in Columns.of(records, leak.kind).items():
        for row in rows:
            looking = Both.of(row, columns.looking, accuracy, seen)
            forging = Both.of(row, columns.forging, accuracy, seen)
            if looking.breaks and forging.breaks:
                mine = private[private["defense"] == row]
                added = of_values(_added(mine, looking.shows, forging.shows, leak.metric), f"{leak.metric}_added")
                more = any(
                    _beyond_luck(_added(mine, looking.shows, one, leak.metric), len(columns.forging), leak.least)
                    for one in columns.forging
                )
                results.append(Coalition(row, share, looking, forging, added, more))
    return results


def _added(mine: pd.DataFrame, looking: str, forging: str, metric: str) -> Array:
    """The differences of what is seen in two columns, in each seed that finished in both."""
    by_seed = [
        mine[(mine["column"] == column) & (mine["status"] == "ok")].set_index("seed")[metric]
        for column in (looking, forging)
    ]
    return np.asarray((by_seed[1] - by_seed[0]).dropna(), dtype=float)


def _beyond_luck(added: Array, columns: int, least: float) -> bool:
    """Whether a mean of at least `least` lies above 0, as one of so many columns; never by a single seed."""
    if len(added) < 2 or added.mean() < least:
        return False
    from scipy import stats  # here, because loading it takes long

    reach = stats.t.ppf(1 - (1 - CONFIDENCE) / 2 / columns, df=len(added) - 1) * stats.sem(added)
    return bool(added.mean() - reach > 0)


def coalition_board(found: Sequence[Coalition], leak: Leak = IMAGES) -> Board:
    """Nothing to show where no coalition forges."""
    several = len({one.share for one in found}) > 1
    lines = [_line(one, several, leak) for one in sorted(found, key=_harmed)]
    measured = {
        "accuracy_looking": {(one.row, one.looking.breaks): one.looking.accuracy for one in found},
        "accuracy_forging": {(one.row, one.forging.breaks): one.forging.accuracy for one in found},
        f"{leak.metric}_looking": {(one.row, one.looking.shows): one.looking.seen for one in found},
        f"{leak.metric}_forging": {(one.row, one.forging.shows): one.forging.seen for one in found},
        f"{leak.metric}_added": {(one.row, one.forging.shows): one.added for one in found},
    }
    data = [number for metric, values in measured.items() for number in numbers(metric, values)]
    return make_board(leak.board, leak.title, leak.caption, lines, data)


def _harmed(one: Coalition) -> tuple[float, float, float]:
    """The most accurate rows first, and of them those that show least."""
    seen = one.forging.seen.mean
    return one.share, -round(one.forging.accuracy.score, 3), math.inf if math.isnan(seen) else seen


def _line(one: Coalition, several: bool, leak: Leak) -> Line:
    known = not math.isnan(one.added.mean)
    return {
        "defense": one.row,
        **({"b": f"{one.share:g}"} if several else {}),
        "accuracy, looking": one.looking.accuracy.text(),
        "accuracy, forging": one.forging.accuracy.text(),
        "broken by": one.forging.breaks,
        f"{leak.word}, looking": leak.text(one.looking.seen),
        f"{leak.word}, forging": leak.text(one.forging.seen),
        "shown by": one.forging.shows or "–",
        "forging adds": (leak.added(one.added) if known else "–") + (" ✗" if one.sees_more else ""),
    }
