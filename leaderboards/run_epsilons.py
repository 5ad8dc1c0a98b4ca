"""Composed against audited epsilon of whole runs, a line a row: between the two lies what is not known."""

from collections.abc import Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from bench.base.names import plain
from leaderboards.audits import Audit, Audits
from leaderboards.epsilons import BROKEN, KEPT, VOID
from leaderboards.plots import FAINT, INK, LEGEND_TEXT, above, frame

WIDTH, LINE, REST = 7.4, 0.3, 1.5  # inches
LEAST, ROOM = 0.03, 1.6
"""Where a bound that proves nothing is drawn; a factor between the outermost numbers and the axis's ends."""
COMPOSED: dict[str, Any] = {"marker": "|", "markersize": 13, "markeredgewidth": 2.2, "color": INK}
NONE: dict[str, Any] = {"linestyle": "none"}


def run_epsilons(rows: Sequence[str], columns: Sequence[str], runs: Audits, title: str = "") -> Figure:
    """Every row whose run was audited; of several columns the largest bound."""
    results: dict[str, Audit] = {}
    for row in rows:
        mine = [runs[row, column] for column in columns if (row, column) in runs]
        if mine:
            results[row] = max(mine, key=lambda audit: audit.epsilon)
    figure = Figure(figsize=(WIDTH, LINE * len(results) + REST), layout="constrained")
    axes = figure.subplots()
    largest = max(value for audit in results.values() for value in (audit.epsilon, audit.allowed or 0.0, LEAST))
    axes.set(xscale="log", xlim=(LEAST / ROOM, largest * ROOM), ylim=(len(results) - 0.4, -0.6))
    axes.set_xlabel("ε per client and run", color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: plain(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    frame(axes, "x")
    for line, audit in enumerate(results.values()):
        at, colour = max(audit.epsilon, LEAST), BROKEN if audit.exceeds else KEPT
        if audit.allowed:
            beyond: dict[str, Any] = {"color": BROKEN, "alpha": 0.25} if audit.exceeds else {"color": FAINT}
            axes.plot([at, audit.allowed], [line, line], linewidth=5, solid_capstyle="butt", zorder=1, **beyond)
            axes.plot(audit.allowed, line, **COMPOSED, **NONE)
        colour = colour if audit.allowed else VOID
        axes.plot(at, line, marker="o", markersize=6.5, color=colour, **NONE)
        side, shift = ("right", -7) if audit.allowed and audit.allowed > at and at > 3 * LEAST else ("left", 8)
        over: dict[str, Any] = {"textcoords": "offset points", "va": "bottom", "ha": side, "fontsize": 8}
        axes.annotate(audit.bound, (at, line), (shift, 1), color=colour, **over)
    axes.set_yticks(range(len(results)), list(results))
    figure.legend(handles=_legend(), loc="outside lower left", ncols=2, **LEGEND_TEXT)
    above(figure, title)
    return figure


def _legend() -> list[Line2D]:
    return [
        Line2D([], [], label="composed: the run shows no more, if proof and code are right", **COMPOSED, **NONE),
        Line2D([], [], label="audited: it shows this at least", marker="o", color=KEPT, **NONE),
        Line2D([], [], label="not known", color=FAINT, linewidth=5),
        Line2D([], [], label="audited: more than is composed", marker="o", color=BROKEN, **NONE),
    ]
