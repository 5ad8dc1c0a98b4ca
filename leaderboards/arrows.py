"""The picture of both at once: an arrow a rule, from a coalition that looks on to the same one that forges."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from leaderboards.coalitions import IMAGES, Both, Coalition, Leak
from leaderboards.looks import Look, looks
from leaderboards.naming import PLOT, PLOT_MARGINS, place_names
from leaderboards.plots import INK, LEADER, frame

SIZE = (8.2, 5.2)
"""Inches."""
Point = tuple[float, float]
WANTED = tuple((PLOT_MARGINS[0] + x, PLOT_MARGINS[1] + y) for x in range(0, 56, 8) for y in (4, 16))
"""Where the corner that everybody wants is named, on the paper of `place_names`."""
WIDE = 95
"""Characters of a line of the title."""
NAME_SIZE, LEADER_INK = 8.5, "#888888"
NAMES = 0.16
"""Room for names on the right, in shares of the axis."""
STEPS = 24
"""Points of an arrow that no name may cover."""
DODGE = 0.012
"""By how much arrows that would start in one place are moved sideways, in shares of images."""


def both_at_once(rows: Sequence[str], found: Sequence[Coalition], title: str, leak: Leak = IMAGES) -> Figure:
    """Accuracy against what is seen, both in %, for the largest Byzantine share; rows without both are left out."""
    largest = max(one.share for one in found)
    shown = {one.row: one for one in found if one.share == largest and _has_both(one)}
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0.085, 0.11, 0.895, 0.73))
    arrows = _draw(axes, shown, looks(rows))
    low, high = 100 * leak.ends[0], max(100 * leak.ends[1], *(x + 3 for _, (x, _) in arrows.values()))
    axes.set(
        xlim=(low, low + (high - low) * (1 + NAMES)),
        ylim=(-4, 104),
        xlabel=leak.axis,
        ylabel="accuracy in %, worst attack",
    )
    axes.set_xticks([tick for tick in axes.get_xticks() if low <= tick <= high])
    frame(axes, "y")
    axes.grid(axis="x", color="#d8d8d8", linewidth=0.6)
    axes.annotate("wanted", (0.01, 0.99), xycoords="axes fraction", va="top", fontsize=8.5, color=INK, style="italic")
    _name(figure, arrows)
    figure.text(0.01, 0.985, textwrap.fill(title, WIDE), ha="left", va="top", fontsize=10.5, color=INK)
    below = f"Hollow: a coalition of b = {largest:g} looks on. Filled: the same coalition forges."
    figure.text(0.01, 0.905, below, ha="left", va="top", fontsize=8.5, color=INK)
    return figure


def _draw(axes: Axes, shown: Mapping[str, Coalition], look: Mapping[str, Look]) -> dict[str, tuple[Point, Point]]:
    """An arrow for each row, beside another one that starts where it does; from where to where each goes."""
    arrows: dict[str, tuple[Point, Point]] = {}
    taken: dict[Point, int] = {}
    for row, one in shown.items():
        start, end = _place(one.looking), _place(one.forging)
        spot = (round(start[0] / 3), round(start[1] / 3))
        taken[spot] = taken.get(spot, 0) + 1
        aside = 100 * DODGE * (taken[spot] - 1)
        arrows[row] = (start[0] + aside, start[1]), (end[0] + aside, end[1])
        _arrow(axes, *arrows[row], look[row])
    return arrows


def _arrow(axes: Axes, start: Point, end: Point, look: Look) -> None:
    """From a hollow mark to a filled one; without a shaft where they are all but one."""
    style: dict[str, Any] = {"marker": look.marker, "color": look.hexadecimal, "linestyle": "none"}
    axes.plot(*start, markersize=6, markerfacecolor="white", **style)
    axes.plot(*end, markersize=8, markeredgecolor="white", **style)
    if math.dist(start, end) > 2:
        shaft = {"arrowstyle": "-|>", "color": look.hexadecimal, "linewidth": 1.1, "shrinkA": 4, "shrinkB": 5}
        axes.annotate("", end, start, arrowprops=shaft)


def _has_both(one: Coalition) -> bool:
    """Whether something is seen, or not, under both; a training that diverged shows nothing to anybody."""
    return not any(math.isnan(part.seen.mean) for part in (one.looking, one.forging))


def _place(one: Both) -> tuple[float, float]:
    return 100 * one.seen.mean, 100 * one.accuracy.score


def _name(figure: Figure, arrows: dict[str, tuple[Point, Point]]) -> None:
    """Each row's name beside the end of its arrow, with a line to it; none stands over another, a mark or an arrow."""
    axes = figure.axes[0]
    on_way = [_along(start, end, step / STEPS) for start, end in arrows.values() for step in range(STEPS)]
    ends = {row: _on_paper(axes, end) for row, (_, end) in arrows.items()}
    others = [*(_on_paper(axes, point) for point in on_way), *WANTED]
    for row, (x, y, side) in place_names(ends, others).items():
        axes.annotate(
            row,
            arrows[row][1],
            _on_axes(x, y),
            textcoords="axes fraction",
            ha="left" if side == "start" else "right",
            va="center",
            fontsize=NAME_SIZE,
            color=INK,
            arrowprops={**LEADER, "color": LEADER_INK, "linewidth": 0.6, "relpos": (0 if side == "start" else 1, 0.5)},
        )


def _along(start: Point, end: Point, share: float) -> Point:
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _on_paper(axes: Axes, point: Point) -> Point:
    """Where the point lies on the paper of `place_names`, in pixels from the top left."""
    (low, high), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    left, above, right, below = PLOT_MARGINS
    across, up = (point[0] - low) / (high - low), (point[1] - bottom) / (top - bottom)
    return left + across * (PLOT[0] - left - right), above + (1 - up) * (PLOT[1] - above - below)


def _on_axes(x: float, y: float) -> Point:
    """The same the other way, in shares of the axes."""
    left, above, right, below = PLOT_MARGINS
    return (x - left) / (PLOT[0] - left - right), 1 - (y - above) / (PLOT[1] - above - below)
