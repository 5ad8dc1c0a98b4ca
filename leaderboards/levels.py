"""The effects of factors as tiles: every row's worst accuracy, level by level, those of a factor side by side."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure

from leaderboards.factors import Effect
from leaderboards.heat import tile
from leaderboards.plots import INK, above

COLUMN, LINE, LEFT, TOP = 0.55, 0.25, 2.4, 1.35  # inches
GAP = 0.45
"""Of a column, between the levels of two factors."""


def by_level(rows: Sequence[str], changed: Sequence[Effect], title: str = "") -> Figure:
    """A tile for each row and level, rows named beside them, the best in the base case on top.

    A factor's name stands over its levels; the base case, the same in all factors, is in bold.
    """
    places, middles, names, base = _places(changed)
    order = sorted(rows, key=lambda row: -_base_score(row, changed))
    figure = Figure(figsize=(COLUMN * (places[-1] + 1) + LEFT, LINE * len(order) + TOP), layout="constrained")
    axes = figure.subplots()
    where = [(effect, level) for effect in changed for level in effect.levels]
    for place, (effect, level) in zip(places, where, strict=True):
        for line, row in enumerate(order):
            tile(axes, place, line, effect.cells[row, level].value)
    axes.set(xlim=(-0.5, places[-1] + 0.5), ylim=(len(order) - 0.5, -0.5))
    axes.set_xticks(places, names, fontsize=8.5, color=INK)
    for tick, bold in zip(axes.xaxis.get_major_ticks(), base, strict=True):
        tick.label2.set_fontweight("bold" if bold else "normal")
    axes.set_yticks(range(len(order)), order, fontsize=8.5, color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    for effect, middle in zip(changed, middles, strict=True):
        axes.annotate(
            effect.factor.replace(" at b", "\nat b").replace("Byzantine share", "Byzantine\nshare"),
            (middle, 1),
            (0, 20),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=INK,
        )
    above(figure, title)
    return figure


def _places(changed: Sequence[Effect]) -> tuple[list[float], list[float], list[str], list[bool]]:
    """Where each level stands, the middle of each factor, the levels' names, and which are the base case."""
    places, middles, names, base = list[float](), list[float](), list[str](), list[bool]()
    for effect in changed:
        first = places[-1] + 1 + GAP if places else 0.0
        mine = [first + index for index in range(len(effect.levels))]
        middles.append((mine[0] + mine[-1]) / 2)
        names += effect.levels
        base += [level == effect.base for level in effect.levels]
        places += mine
    return places, middles, names, base


def _base_score(row: str, changed: Sequence[Effect]) -> float:
    """Its worst accuracy in the base case; rows without one stand below."""
    score = changed[0].cells[row, changed[0].base].value.score
    return -math.inf if math.isnan(score) else score
