"""ROC curves of membership inference on logarithmic axes: a panel for what is seen, a row's worst attack in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from leaderboards.looks import Look, looks
from leaderboards.membership import SEEN, Roc
from leaderboards.plots import FAINT, INK, LEGEND_TEXT, above, frame

PANEL, REST = (3.4, 3.3), 0.6  # inches
FLOOR = 2e-3
"""The lowest rate drawn; what is below it, 0 too, lies on it."""
RESOLVED, OTHERS = "#f2f2f2", "#bbbbbb"
NAMED = 4
"""Rows of a panel in their colours, those that leak most; the others are grey."""


def rocs(rows: Sequence[str], found: Mapping[str, Mapping[str, Roc]], title: str = "") -> Figure:
    """All panels side by side; what lies left of one false positive is not resolved."""
    figure = Figure(figsize=(PANEL[0] * len(found), PANEL[1] + REST), layout="constrained")
    look = looks(rows)
    for axes, (seen, curves) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        _scales(axes, f"seen by {SEEN[seen]}")
        axes.axvspan(FLOOR, min(curve.false[1] for curve in curves.values()), color=RESOLVED, linewidth=0)
        axes.plot([FLOOR, 1], [FLOOR, 1], color=INK, linewidth=0.9, linestyle=":")
        _curves(axes, {row: curves[row] for row in rows if row in curves}, look)
    figure.axes[0].set_ylabel("true positive rate", color=INK)
    above(figure, title)
    return figure


def _scales(axes: Axes, title: str) -> None:
    axes.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1.1))
    frame(axes, "y")
    axes.grid(axis="x", color=FAINT, linewidth=0.6)
    axes.set_title(title, fontsize=10, color=INK, loc="left")
    axes.set_xlabel("false positive rate", color=INK)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
        axis.set_minor_formatter(NullFormatter())


def _curves(axes: Axes, curves: Mapping[str, Roc], look: Mapping[str, Look]) -> None:
    """Those that leak most in colour, named with their areas where no curve lies: below a guess."""
    ranked = sorted(curves, key=lambda row: -curves[row].area)
    for row in reversed(ranked):
        curve = curves[row]
        axes.plot(curve.false[1:], np.maximum(curve.true[1:], FLOOR), **_style(row, ranked, look))
    marks = [
        Line2D([], [], label=f"{row}  {curves[row].area:.2f}", **_style(row, ranked, look)) for row in ranked[:NAMED]
    ]
    if len(ranked) > NAMED:
        marks.append(Line2D([], [], label=f"{len(ranked) - NAMED} other rows", color=OTHERS, linewidth=0.8))
    marks.append(Line2D([], [], label="a guess  0.50", color=INK, linestyle=":", linewidth=0.9))
    axes.legend(handles=marks, loc="lower right", **{**LEGEND_TEXT, "fontsize": 7.5})


def _style(row: str, ranked: Sequence[str], look: Mapping[str, Look]) -> dict[str, Any]:
    if row not in ranked[:NAMED]:
        return {"color": OTHERS, "linewidth": 0.8}
    of_row = look[row]
    return {
        "color": of_row.hexadecimal, "marker": of_row.marker, "markersize": 4.5, "linewidth": 1.3, "markevery": 0.16,
    }  # fmt: skip
