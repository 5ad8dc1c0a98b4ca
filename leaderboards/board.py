"""A board: a table for people and the same numbers for programs; a leaderboard: all boards of one suite."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Self

import pandas as pd

from bench.records import Record
from leaderboards.estimates import Estimates
from leaderboards.rankings import Interval, Ranking, Scored, ranking

Line = dict[str, str]
"""What stands in a row of a table, by column."""


@dataclass(frozen=True)
class Number:
    """One line of the long format: what a metric is for a defense, in a column where the metric has one.

    Its 95 % interval is `mean` give or take `half_width`, or from `low` to `high` where it has these.
    """

    defense: str
    column: str | None
    metric: str
    mean: float
    half_width: float | None = None
    low: float | None = None
    high: float | None = None
    seeds: int | None = None
    failed: int | None = None
    within_claim: bool | None = None


REACH = "rank interval"
"""The column with the ranks that a row may have."""


@dataclass(frozen=True)
class Standing:
    """What ranks the rows: a score each (nan for none), under the name `metric`, and the rank that follows from it.

    `texts` has the scores for people. Rows of one group, which the seeds do not tell apart, share a rank; `order` has
    the ranks by score alone.
    """

    metric: str
    scores: Mapping[str, float]
    ranks: Mapping[str, int | None]
    texts: Mapping[str, str]
    order: Mapping[str, int | None] = field(default_factory=dict)
    group: Mapping[str, int] = field(default_factory=dict)
    interval: Mapping[str, Interval] = field(default_factory=dict)
    seeds: int = 1  # that the ranks rest on

    @classmethod
    def of(
        cls,
        metric: str,
        scores: Mapping[str, float],
        worthless: Collection[str] = (),
        lacking: Collection[str] = (),
        seen: Mapping[str, Scored] | None = None,
        grain: float = 0.0,
    ) -> Self:
        """The highest score leads; scores are fractions. `worthless` are rows that failed, or are at chance.

        Those that are `lacking` records that other rows have are not ranked. `seen` has the scores seed by seed,
        counted in steps of `grain`.
        """
        texts = {row: f"{score:.1%}" for row, score in scores.items()}
        points = ranks({row: (score,) for row, score in scores.items()}, worthless, lacking)
        return cls.settled(metric, scores, texts, points, ranking(points, seen or {}, grain))

    @classmethod
    def settled(
        cls,
        metric: str,
        scores: Mapping[str, float],
        texts: Mapping[str, str],
        order: Mapping[str, int | None],
        found: Ranking,
    ) -> Self:
        """With what the seeds leave of the ranks by score alone."""
        return cls(metric, scores, found.ranks, texts, order, found.group, found.interval, found.seeds)

    @property
    def orders(self) -> bool:
        """Whether there is a rank."""
        return any(rank is not None for rank in self.ranks.values())

    def place(self, row: str) -> float:
        """What orders the rows: the rank by score alone, and infinity without one."""
        return self.order.get(row) or math.inf

    def numbers(self) -> list[Number]:
        """Scores, ranks with their intervals, and groups."""
        results = [Number(row, None, self.metric, score) for row, score in self.scores.items()]
        for row, rank in self.ranks.items():
            if rank is not None:
                low, high = self.interval.get(row, (None, None))
                results.append(Number(row, None, "rank", rank, low=low, high=high))
        return results + [Number(row, None, "rank_group", number) for row, number in self.group.items()]

    def sort(self, lines: Iterable[Line]) -> list[Line]:
        """The rows by rank, with the rank in front, then those without one as they are."""
        ordered = sorted(lines, key=lambda line: self.place(line["defense"]))
        return [{**self._rank(line["defense"]), **line} for line in ordered]

    def _rank(self, row: str) -> Line:
        """`1`, and `1–3` beside it where any seed tells."""
        low, high = self.interval.get(row, (None, None))
        reach = {REACH: "–" if low is None else f"{low}" if low == high else f"{low}–{high}"} if self.interval else {}
        return {"rank": str(self.ranks[row] or "–"), **reach}

    @property
    def told(self) -> str:
        """What stands below the board about its ranks; nothing where nobody has one."""
        if not self.orders:
            return ""
        if not self.interval:
            return " One seed, or none that all rows share: ranks are by score alone, and luck may have made them."
        return (
            f" Rows that {self.seeds} seeds do not tell apart share a rank. The rank interval has the ranks that a row "
            "may have: all of them hold at once with 95 %, by t tests of differences paired by seed, the worst column "
            "chosen anew without each seed (jackknife), corrected for all pairs (Holm)."
        )


UNRANKED = Standing("", scores={}, ranks={}, texts={})


@dataclass(frozen=True)
class Board:
    """A table for people (`text`, strings), the same numbers for programs (`data`, a row a number), and who leads."""

    name: str
    title: str
    caption: str
    text: pd.DataFrame
    data: pd.DataFrame
    standing: Standing = UNRANKED


@dataclass(frozen=True)
class Picture:
    """A picture beside the boards: its file's name without ending, what is seen on it, and how it is drawn (PNG)."""

    name: str
    title: str
    sentence: str
    draw: Callable[[], bytes]

    @property
    def path(self) -> str:
        """Its place beside the page."""
        return f"plots/{self.name}.png"


@dataclass(frozen=True)
class Leaderboard:
    """All boards of one suite in one setting, as `leaderboards.boards.build` makes them; nothing is added later."""

    suite: str
    title: str
    seeds: int
    boards: Sequence[Board]
    seeds_of: Mapping[str, int] = field(default_factory=dict)  # by kind of cells that has another number
    notice: str = ""  # what tells this board from that of the suite as it stands
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)
    column_flags: Mapping[str, Sequence[str]] = field(default_factory=dict)  # by column
    left_out: Sequence[str] = ()
    records: int = 0
    environments: Sequence[str] = ()
    caveats: Sequence[str] = ()  # what is to be known of many records at once
    verified: Sequence[str] = ()  # where records were played anew, and what came of it
    pictures: Sequence[Picture] = ()
    evidence: Sequence[Record] = ()  # the records that the numbers come from
    evaluations: frozenset[str] = frozenset()  # columns of attacks that somebody else ran against some rows
    results: str = "results"  # the folder that the suite's is in
    asked_for: str = ""  # what `--suite` was: a shipped suite's name or a file
    runnable: frozenset[str] = frozenset()  # hashes of the cells that a run of that suite would play again as they are


def asked_for(leaderboard: Leaderboard) -> str:
    """`10 seed(s) a cell asked for, 3 of an inversion`."""
    others = "".join(f", {count} of each {kind}" for kind, count in leaderboard.seeds_of.items())
    return f"{leaderboard.seeds} seed(s) a cell asked for{others}"


LONG_FORMAT = ("board", *(part.name for part in fields(Number)))
NULLABLE = {
    **dict.fromkeys(("mean", "half_width", "low", "high"), "float64"),
    **dict.fromkeys(("seeds", "failed"), "Int64"),
    "within_claim": "boolean",
}


def make_board(
    name: str, title: str, caption: str, lines: Iterable[Line], numbers: Iterable[Number], standing: Standing = UNRANKED
) -> Board:
    """A board from the rows of its table and its numbers; the standing's scores and ranks are numbers too."""
    results = [{"board": name, **asdict(number)} for number in (*numbers, *standing.numbers())]
    data = pd.DataFrame(results, columns=list(LONG_FORMAT)).astype(NULLABLE)
    return Board(
        name, title, caption + standing.told if results else caption, pd.DataFrame(list(lines)), data, standing
    )


def numbers(metric: str, found: Estimates) -> list[Number]:
    """Estimates in the long format."""
    return [Number(row, column, metric, **asdict(value)) for (row, column), value in found.items()]


def ranks(
    scores: Mapping[str, tuple[float, ...]], worthless: Collection[str] = (), lacking: Collection[str] = ()
) -> dict[str, int | None]:
    """1 for the highest score; equal ones share a rank, and one without a number comes last.

    Scores are compared part by part, and count as equal where they only differ by rounding. Where the first part of all
    is without a number, or they are `worthless`, nobody has a rank; nor have those that are `lacking` records.
    """
    whole = {row: score for row, score in scores.items() if row not in lacking}
    if all(row in worthless or math.isnan(score[0]) for row, score in whole.items()):
        return dict.fromkeys(scores)
    comparable = {
        row: tuple(-math.inf if math.isnan(part) else round(part, 6) for part in score) for row, score in whole.items()
    }
    results = {row: 1 + sum(other > score for other in comparable.values()) for row, score in comparable.items()}
    return {row: results.get(row) for row in scores}
