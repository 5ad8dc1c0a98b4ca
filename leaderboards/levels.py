"""The effects of factors as small multiples: the worst accuracy of every row, level by level, one panel a factor."""

import math
from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboards.factors import Effect
from leaderboards.plots import INK, LEGEND, LEGEND_TEXT, PANEL, Style, frame, styles

ACROSS = 3
"""Panels side by side."""
BASE = "#ededed"
"""Behind the base case."""
LABEL_GAP = 4.6
"""Points of accuracy between two labels at a line's end, so that they can be read."""


def small_multiples(rows: Sequence[str], changed: Sequence[Effect]) -> Figure:
    """One panel a factor; the base case is the shaded level, the same in all of them."""
    across, down = min(ACROSS, len(changed)), -(-len(changed) // ACROSS)
    figure = Figure(figsize=(PANEL[0] * across + LEGEND, PANEL[1] * down + 0.3), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False, sharey=True)
    look = styles(rows)
    for place, axes in enumerate(panels.flat):
        if place >= len(changed):
            axes.set_visible(False)
            continue
        _panel(axes, rows, changed[place], look)
    for line in panels:
        line[0].set_ylabel("worst accuracy in %", color=INK, fontsize=8.5)
    handles = [_line(look[row]) for row in rows]
    figure.legend(handles, list(rows), loc="outside right upper", **LEGEND_TEXT)
    return figure


def _panel(axes: Axes, rows: Sequence[str], effect: Effect, look: Mapping[str, Style]) -> None:
    frame(axes, "y")
    base = effect.levels.index(effect.base)
    axes.axvspan(base - 0.3, base + 0.3, color=BASE, zorder=0, linewidth=0)
    for row in rows:
        points = [(place, 100 * score) for place, score in enumerate(effect.scores(row)) if not math.isnan(score)]
        if not points:
            continue
        x, y = zip(*points, strict=True)
        style = look[row]
        axes.plot(
            x, y, color=style.colour, marker=style.marker, markersize=5, linewidth=1.2, markeredgecolor="white",
            markeredgewidth=0.5, clip_on=False,
        )  # fmt: skip
    names = [f"{level}\n(base)" if level == effect.base else level for level in effect.levels]
    axes.set_xticks(range(len(names)), names)
    axes.set(xlim=(-0.4, len(names) - 0.6), ylim=(0, 100))
    axes.set_title(effect.factor, fontsize=10, color=INK, loc="left")


def _line(style: Style) -> Line2D:
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return Line2D([], [], color=style.colour, marker=style.marker, markersize=6, linewidth=1.2, **edge)
