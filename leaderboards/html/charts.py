"""The page's charts as geometry: accuracy by round, a panel a threat model, and privacy against accuracy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.records import Record
from leaderboards.board import Board
from leaderboards.estimates import MISSING, Estimate
from leaderboards.frame import CLEAN
from leaderboards.html.evidence import by_place, thinned
from leaderboards.html.leads import MEASURED, Leads, Place, metric_of
from leaderboards.looks import Look
from leaderboards.naming import PLOT, PLOT_MARGINS, place_names

LEFT, TOP, RIGHT, BOTTOM = 34, 8, 8, 22
"""Margins of a panel, in units of its drawing."""
PANEL = (320, 200)
PERCENTS = (0, 25, 50, 75, 100)
MOST_LINES = 9
"""Rows beyond which lines in one panel cannot be told apart."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    text: str


@dataclass(frozen=True)
class Curve:
    """One line: whose it is, SVG points, the classes of the style sheet that it has, and what is said of it."""

    name: str
    points: str
    look: str
    last: str


@dataclass(frozen=True)
class Panel:
    """Accuracy by round: of all rows in one column, or, where rows are many, of one row in all columns."""

    name: str
    curves: list[Curve]
    rounds: list[Tick]
    percents: list[Tick]
    by: str = "column"
    said: str = ""

    @property
    def of(self) -> str:
        """What its curves are named by."""
        return "row" if self.by == "column" else "column"


@dataclass(frozen=True)
class Point:
    """A row in the Pareto plot, with its name at a place of its own and the reach of its intervals."""

    row: str
    x: float
    y: float
    label_x: float
    label_y: float
    anchor: str
    on_front: bool
    style: Look
    low_x: float
    high_x: float
    low_y: float
    high_y: float
    said: str


@dataclass(frozen=True)
class Plot:
    """Worst-case share recovered (x) against worst-case accuracy (y)."""

    points: list[Point]
    xs: list[Tick]
    ys: list[Tick]


def panels(records: Sequence[Record], columns: Sequence[str], look: Mapping[str, Look]) -> list[Panel]:
    """Mean curves over the seeds that finished: a panel for each column, or for each row where these are many."""
    finished = by_place(record for record in records if record.curve and record.status == "ok")
    means = {place: _mean(finished[place]) for place in finished if place[0] in look}
    if len({row for row, _ in means}) > MOST_LINES:
        return [panel for row in look if (panel := _panel_of_row(row, columns, means)) is not None]
    results = []
    for column in columns:
        mine = {row: means[row, column] for row in look if (row, column) in means}
        if mine:
            looks = {row: f"c{look[row].colour} d{look[row].dash}" for row in mine}
            results.append(_panel(column, mine, looks))
    return results


def _panel_of_row(row: str, columns: Sequence[str], means: Mapping[Place, list[tuple[int, float]]]) -> Panel | None:
    """The row's curves: its worst attack stands out, so does the run without one, the others are grey."""
    mine = {column: means[row, column] for column in columns if (row, column) in means}
    if not mine:
        return None
    attacked = [column for column in mine if column != CLEAN]
    worst = min(attacked, key=lambda column: mine[column][-1][1], default="")
    looks = {column: "worst" if column == worst else CLEAN if column == CLEAN else "other" for column in mine}
    ordered = dict(sorted(mine.items(), key=lambda item: ("other", CLEAN, "worst").index(looks[item[0]])))
    said = f"worst: {worst}, {mine[worst][-1][1]:.1%}" if worst else ""
    return replace(_panel(row, ordered, looks), by="row", said=said)


def _mean(records: Sequence[Record]) -> list[tuple[int, float]]:
    """Over the rounds that all of the records have."""
    curves = [dict(record.curve) for record in records]
    rounds = sorted(set.intersection(*(set(curve) for curve in curves)))
    return [(at, sum(curve[at] for curve in curves) / len(curves)) for at in rounds]


def _panel(name: str, means: Mapping[str, list[tuple[int, float]]], looks: Mapping[str, str]) -> Panel:
    width, height = PANEL[0] - LEFT - RIGHT, PANEL[1] - TOP - BOTTOM
    most = max((at for curve in means.values() for at, _ in curve), default=1)

    def x(at: float) -> float:
        return LEFT + width * at / most

    def y(share: float) -> float:
        return TOP + height * (1 - share)

    curves = [
        Curve(
            one,
            " ".join(f"{x(at):.0f},{y(share):.0f}" for at, share in thinned(curve)),
            looks[one],
            f"{curve[-1][1]:.1%}",
        )
        for one, curve in means.items()
        if curve
    ]
    rounds = [Tick(x(at), str(at)) for at in sorted({0, most // 2, most})]
    return Panel(name, curves, rounds, [Tick(y(percent / 100), str(percent)) for percent in PERCENTS])


def pareto(boards: Mapping[str, Board], leads: Leads, look: Mapping[str, Look]) -> Plot | None:
    """Every row that has a score on both boards; None where there is none."""
    if not {"robustness", "privacy", "overall"} <= boards.keys():
        return None
    robustness, privacy = boards["robustness"].standing.scores, boards["privacy"].standing.scores
    rows = [row for row in look if not any(math.isnan(result.get(row, math.nan)) for result in (robustness, privacy))]
    if not rows:
        return None
    data = boards["overall"].data
    front = set(data.loc[(data["metric"] == "pareto") & (data["mean"] == 1), "defense"])
    accuracy, recovered = (_of_worst(boards[name], leads) for name in ("robustness", "privacy"))
    left, top, right, bottom = PLOT_MARGINS
    width, height = PLOT[0] - left - right, PLOT[1] - top - bottom

    def x(share: float) -> float:
        return left + width * min(max(share, 0.0), 1.0)

    def y(share: float) -> float:
        return top + height * (1 - min(max(share, 0.0), 1.0))

    labels = place_names({row: (x(privacy[row]), y(robustness[row])) for row in rows})
    points = []
    for row in rows:
        value, share = accuracy.get(row, MISSING), recovered.get(row, MISSING)
        reach = 0.0 if math.isnan(value.half_width) or value.failed else value.half_width
        ends = (share.mean, share.mean) if math.isnan(share.low) else (share.low, share.high)
        said = f"{row}: worst-case accuracy {boards['robustness'].standing.texts[row]}, worst share recovered "
        said += boards["privacy"].standing.texts[row] + (", on the Pareto front" if row in front else "")
        points.append(
            Point(
                row,
                x(privacy[row]),
                y(robustness[row]),
                *labels[row],
                row in front,
                look[row],
                x(ends[0]),
                x(ends[1]),
                y(robustness[row] - reach),
                y(robustness[row] + reach),
                said,
            )
        )
    ticks = [(percent / 100, f"{percent}%") for percent in PERCENTS]
    return Plot(points, [Tick(x(at), text) for at, text in ticks], [Tick(y(at), text) for at, text in ticks])


def _of_worst(board: Board, leads: Leads) -> dict[str, Estimate]:
    result = metric_of(board, MEASURED[board.name])
    return {row: result[row, column] for row, column in leads.worst[board.name].items()}
