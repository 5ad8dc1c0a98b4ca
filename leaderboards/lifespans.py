"""Success of backdoors by round as small multiples: one panel a row, a line an attack, the attacked rounds shaded."""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from bench.records import Record
from leaderboards.looks import COLOURS
from leaderboards.plots import INK, LEGEND_TEXT, above, frame

ACROSS = 4
"""Panels side by side."""
PANEL = (2.3, 1.9)
"""Of each, in inches."""
SHADE = "#e6e6e6"
"""Behind the attacked rounds."""
DASHES = ("-", "--", ":")
"""Of lines that have one colour, in the order in which they take it."""


def small_multiples(rows: Sequence[str], places: Sequence[str], records: Sequence[Record], title: str = "") -> Figure:
    """Means over the seeds that finished, for every row that has such records."""
    told = [record for record in records if record.success and record.status == "ok" and record.cell.stop]
    rows = [row for row in rows if any(record.cell.label == row for record in told)]
    shown = [column for column in places if any(record.cell.column == column for record in told)]
    across, down = min(ACROSS, len(rows)), -(-len(rows) // ACROSS)
    figure = Figure(figsize=(PANEL[0] * across + 0.4, PANEL[1] * down + 1.0), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharex=True, sharey=True)
    for place, axes in enumerate(panels.flat):
        if place >= len(rows):
            axes.set_visible(False)
            continue
        _panel(axes, rows[place], shown, [record for record in told if record.cell.label == rows[place]])
        if place + across >= len(rows):
            axes.tick_params(labelbottom=True)
    for axes in panels[-1]:
        axes.set_xlabel("round", color=INK, fontsize=8.5)
    figure.supylabel("share of images on which the backdoor works, in %", color=INK, fontsize=8.5)
    handles: list[Line2D | Patch] = [Line2D([], [], **_look(shown, column)) for column in shown]
    names = [_name(column) for column in shown]
    figure.legend(
        [*handles, Patch(color=SHADE)], [*names, "attacked rounds"], loc="outside lower left", ncols=4, **LEGEND_TEXT
    )
    above(figure, title)
    return figure


def _panel(axes: Axes, row: str, columns: Sequence[str], mine: Sequence[Record]) -> None:
    frame(axes, "y")
    for first, last in {(record.cell.start or 1, record.cell.stop or 1) for record in mine}:
        axes.axvspan(first - 1, last, color=SHADE, zorder=0, linewidth=0)
    for column in columns:
        curves = [dict(record.success) for record in mine if record.cell.column == column]
        if not curves:
            continue
        at = sorted(set.intersection(*(set(curve) for curve in curves)))
        share = [100 * fmean(curve[index] for curve in curves) for index in at]
        axes.plot(at, share, **_look(columns, column), clip_on=False)
    axes.set_ylim(0, 100)
    axes.set_xlim(0, max(record.cell.federation.rounds for record in mine))
    axes.set_title(row, fontsize=9, color=INK, loc="left")


def _look(columns: Sequence[str], column: str) -> dict[str, Any]:
    """An attack's own colour; dashed where an attack before it has the colour."""
    turn, colour = divmod(columns.index(column), len(COLOURS))
    return {"color": COLOURS[colour], "linestyle": DASHES[turn % len(DASHES)], "linewidth": 1.3}


def _name(column: str) -> str:
    """Without the rounds, which the shading shows."""
    return column.split(" rounds ")[0].split(" b=")[0]
