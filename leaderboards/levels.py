"""The effects of factors as small multiples: the worst accuracy of every row, level by level, one panel a factor."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboards.factors import Effect
from leaderboards.looks import looks
from leaderboards.plots import INK, LEGEND, LEGEND_TEXT, PANEL, frame

ACROSS = 3
"""Panels side by side."""
BASE = "#ededed"
"""Behind the base case."""


def small_multiples(rows: Sequence[str], changed: Sequence[Effect]) -> Figure:
    """One panel a factor; the base case is the shaded level, the same in all of them."""
    across, down = min(ACROSS, len(changed)), -(-len(changed) // ACROSS)
    figure = Figure(figsize=(PANEL[0] * across + LEGEND, PANEL[1] * down + 0.3), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    for place, axes in enumerate(panels.flat):
        if place >= len(changed):
            axes.set_visible(False)
            continue
        _panel(axes, rows, changed[place])
    for line in panels:
        line[0].set_ylabel("worst accuracy in %", color=INK, fontsize=8.5)
    handles = [Line2D([], [], **look_of_row(rows, row)) for row in rows]
    figure.legend(handles, list(rows), loc="outside right upper", **LEGEND_TEXT)
    return figure


def _panel(axes: Axes, rows: Sequence[str], effect: Effect) -> None:
    frame(axes, "y")
    base = effect.levels.index(effect.base)
    axes.axvspan(base - 0.3, base + 0.3, color=BASE, zorder=0, linewidth=0)
    for row in rows:
        points = [(place, 100 * score) for place, score in enumerate(effect.scores(row)) if not math.isnan(score)]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        axes.plot(x, y, **look_of_row(rows, row), clip_on=False)
    names = [f"{level}\n(base)" if level == effect.base else level for level in effect.levels]
    axes.set_xticks(range(len(names)), names)
    axes.set(xlim=(-0.4, len(names) - 0.6), ylim=(0, 100))
    axes.set_title(effect.factor, fontsize=10, color=INK, loc="left")


def look_of_row(rows: Sequence[str], row: str) -> dict[str, Any]:
    """A row's own colour and marker; dashed where a row before it has the colour."""
    found = looks(rows)
    style = found[row]
    before = rows[: rows.index(row)]
    line = "--" if any(found[other].colour == style.colour for other in before) else "-"
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": 6}
    return {"color": style.hexadecimal, "marker": style.marker, "linewidth": 1.2, "linestyle": line, **edge}
