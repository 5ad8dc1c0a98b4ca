"""The report's plots: curves by round, bars, scatters; the papers' own values are stars in the colour of their row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bench.reproduce.evidence import Curve
from leaderboards.looks import COLOURS, MARKERS
from leaderboards.plots import INK, LEGEND_TEXT, above, frame, png

PANEL = (2.9, 2.3)  # inches
LEGEND = 1.9
PAPERS = "the paper's value"
STAR: dict[str, Any] = {"marker": "*", "markersize": 11, "markeredgecolor": "white", "markeredgewidth": 0.6}


@dataclass(frozen=True)
class Panel:
    """Curves by name, and by the same names the paper's values at the last round, in %."""

    title: str
    curves: Mapping[str, Curve | None]
    marks: Mapping[str, float] = field(default_factory=dict)


def colour(names: Sequence[str], name: str) -> str:
    return COLOURS[names.index(name) % len(COLOURS)]


def accuracy_by_round(
    panels: Sequence[Sequence[Panel]], names: Sequence[str], star: str = PAPERS, title: str = ""
) -> bytes:
    """A grid of panels; bands reach from the lowest to the highest seed; `star` tells what the marks are."""
    figure, grid = grid_of(len(panels), len(panels[0]))
    for line, row in zip(panels, grid, strict=True):
        for panel, axes in zip(line, row, strict=True):
            axes.set_title(panel.title, fontsize=9, color=INK, loc="left")
            for name, curve in panel.curves.items():
                if curve is not None:
                    look = colour(names, name)
                    axes.plot(curve.rounds, curve.mean, color=look, linewidth=1.3)
                    axes.fill_between(curve.rounds, curve.low, curve.high, color=look, alpha=0.18, linewidth=0)
            last = max((curve.rounds[-1] for curve in panel.curves.values() if curve is not None), default=1)
            for place, (name, value) in enumerate(panel.marks.items()):  # side by side, so that none hides another
                axes.plot(
                    last * (1.03 + 0.04 * place), value, color=colour(names, name), clip_on=False, zorder=5, **STAR
                )
            axes.set_ylim(-3, 103)
    label(grid, "round", "test accuracy in %")
    legend(figure, names, star if any(panel.marks for line in panels for panel in line) else None)
    above(figure, title)
    return png(figure)


def grid_of(lines: int, columns: int, height: float = PANEL[1], width: float = PANEL[0]) -> tuple[Figure, Any]:
    """A figure and its axes `(lines, columns)`, with room for a legend on the right."""
    figure = Figure(figsize=(width * columns + LEGEND, height * lines + 0.3), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True)
    for axes in grid.flat:
        frame(axes, "y")
    return figure, grid


def label(grid: Any, x: str, y: str) -> None:
    for axes in grid[-1]:
        axes.set_xlabel(x, color=INK, fontsize=9)
    for axes in grid[:, 0]:
        axes.set_ylabel(y, color=INK, fontsize=9)


def legend(
    figure: Figure, names: Sequence[str], star: str | None = None, more: Mapping[str, Line2D] | None = None
) -> None:
    entries = {name: Line2D([], [], color=colour(names, name), linewidth=1.6) for name in names}
    if star:
        entries[star] = Line2D([], [], color=INK, linestyle="none", **STAR)
    entries |= dict(more or {})
    figure.legend(list(entries.values()), list(entries), loc="outside right upper", **LEGEND_TEXT)


def points(axes: Axes, x: Sequence[float], y: Sequence[float], look: int, low: Any = None, high: Any = None) -> None:
    """Measured points with intervals that reach `low` below and `high` above."""
    errors = None if low is None else [low, high]
    style: dict[str, Any] = {"markersize": 5.5, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.errorbar(
        x, y, errors, color=COLOURS[look], marker=MARKERS[look], linestyle="none", capsize=2, linewidth=1, **style
    )
