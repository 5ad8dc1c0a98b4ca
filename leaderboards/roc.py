"""ROC curves of membership inference on logarithmic axes: a panel for what is seen, a row's worst attack in it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from leaderboards.looks import looks
from leaderboards.membership import SEEN, Roc
from leaderboards.plots import FAINT, INK, LEGEND_TEXT, above, frame

PANEL, REST = (3.4, 3.3), 1.5  # inches
FLOOR = 2e-3
"""The lowest rate drawn; what is below it, 0 too, lies on it."""
RESOLVED = "#f2f2f2"


def rocs(rows: Sequence[str], found: Mapping[str, Mapping[str, Roc]], title: str = "") -> Figure:
    """All panels side by side; what lies left of one false positive is not resolved."""
    figure = Figure(figsize=(PANEL[0] * len(found), PANEL[1] + REST), layout="constrained")
    shown = [row for row in rows if any(row in curves for curves in found.values())]
    look = looks(rows)
    for axes, (seen, curves) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        axes.set(xscale="log", yscale="log", xlim=(FLOOR, 1), ylim=(FLOOR, 1.1))
        frame(axes, "y")
        axes.grid(axis="x", color=FAINT, linewidth=0.6)
        axes.set_title(f"seen by {SEEN[seen]}", fontsize=10, color=INK, loc="left")
        axes.set_xlabel("false positive rate", color=INK)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.3g}"))
            axis.set_minor_formatter(NullFormatter())
        axes.axvspan(FLOOR, min(curve.false[1] for curve in curves.values()), color=RESOLVED, linewidth=0)
        axes.plot([FLOOR, 1], [FLOOR, 1], color=INK, linewidth=0.9, linestyle=":")
        for row in filter(curves.__contains__, shown):
            curve = curves[row]
            style = {"color": look[row].hexadecimal, "marker": look[row].marker, "markersize": 4.5, "linewidth": 1.1}
            axes.plot(curve.false[1:], np.maximum(curve.true[1:], FLOOR), markevery=0.16, **style)
    figure.axes[0].set_ylabel("true positive rate", color=INK)
    marks = [
        Line2D([], [], label=row, color=look[row].hexadecimal, marker=look[row].marker, markersize=5, linewidth=1.1)
        for row in shown
    ]
    guess = Line2D([], [], label="a guess", color=INK, linestyle=":", linewidth=0.9)
    columns = max(1, math.floor(1.4 * len(found)))
    figure.legend(handles=[*marks, guess], loc="outside lower left", ncols=columns, **LEGEND_TEXT)
    above(figure, title)
    return figure
