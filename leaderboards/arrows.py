"""The picture of both at once: an arrow a rule, from a coalition that looks on to the same one that forges."""

import math
import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from leaderboards.coalitions import IMAGES, Both, Coalition, Leak
from leaderboards.looks import looks
from leaderboards.plots import INK, LEADER, frame, spread

SIZE = (8.2, 5.2)
"""Inches; the names stand in the right third."""
PLOT_RIGHT = 0.72
WIDE = 95
"""Characters of a line of the title."""
NAME_GAP = 0.062
"""Of the axis's height, between the middles of two names."""
DODGE = 0.012
"""By how much arrows that would start in one place are moved sideways, in shares of images."""


def both_at_once(rows: Sequence[str], found: Sequence[Coalition], title: str, leak: Leak = IMAGES) -> Figure:
    """Accuracy against what is seen, both in %, for the largest Byzantine share; rows without both are left out."""
    largest = max(one.share for one in found)
    shown = {one.row: one for one in found if one.share == largest and _has_both(one)}
    figure = Figure(figsize=SIZE)
    axes = figure.add_axes((0.085, 0.11, PLOT_RIGHT - 0.085, 0.73))
    look, ends = looks(rows), dict[str, tuple[float, float]]()
    taken: dict[tuple[float, float], int] = {}
    for row, one in shown.items():
        start, end = _place(one.looking), _place(one.forging)
        spot = (round(start[0] / 3), round(start[1] / 3))
        taken[spot] = taken.get(spot, 0) + 1
        aside = 100 * DODGE * (taken[spot] - 1)
        start, end = (start[0] + aside, start[1]), (end[0] + aside, end[1])
        ends[row] = end
        colour = look[row].hexadecimal
        axes.plot(
            *start, marker=look[row].marker, color=colour, markersize=6, markerfacecolor="white", linestyle="none"
        )
        axes.plot(*end, marker=look[row].marker, color=colour, markersize=8, markeredgecolor="white", linestyle="none")
        if math.dist(start, end) > 2:
            style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1, "shrinkA": 4, "shrinkB": 5}
            axes.annotate("", end, start, arrowprops=style)
    axes.set(
        xlim=(100 * leak.ends[0], max(100 * leak.ends[1], *(x + 3 for x, _ in ends.values()))),
        ylim=(-4, 104),
        xlabel=leak.axis,
        ylabel="accuracy in %, worst attack",
    )
    _name(figure, ends, {row: look[row].hexadecimal for row in ends})
    frame(axes, "y")
    axes.grid(axis="x", color="#d8d8d8", linewidth=0.6)
    axes.annotate("wanted", (0.01, 0.99), xycoords="axes fraction", va="top", fontsize=8.5, color=INK, style="italic")
    figure.text(0.01, 0.985, textwrap.fill(title, WIDE), ha="left", va="top", fontsize=10.5, color=INK)
    below = f"Hollow: a coalition of b = {largest:g} looks on. Filled: the same coalition forges."
    figure.text(0.01, 0.905, below, ha="left", va="top", fontsize=8.5, color=INK)
    return figure


def _has_both(one: Coalition) -> bool:
    """Whether something is seen, or not, under both; a training that diverged shows nothing to anybody."""
    return not any(math.isnan(part.seen.mean) for part in (one.looking, one.forging))


def _place(one: Both) -> tuple[float, float]:
    return 100 * one.seen.mean, 100 * one.accuracy.score


def _name(figure: Figure, ends: dict[str, tuple[float, float]], colours: dict[str, str]) -> None:
    """The rows' names in the right margin, each with a line to the end of its arrow; no name stands over another."""
    axes = figure.axes[0]
    low, high = axes.get_ylim()
    wanted = {row: (y - low) / (high - low) for row, (_, y) in ends.items()}
    for row, place in spread(wanted, dict.fromkeys(wanted, NAME_GAP)).items():
        leader = {**LEADER, "color": colours[row], "linewidth": 0.6, "alpha": 0.6}
        axes.annotate(
            row,
            ends[row],
            (1.04, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=INK,
            arrowprops=leader,
        )
