"""Accuracy of every defense under every attack as a heat map: the best rows on top, the hardest columns on the left."""

import math
from collections.abc import Collection, Sequence
from itertools import pairwise

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.frame import CLEAN
from leaderboards.plots import INK, above
from leaderboards.robustness import asked, worst_case

COLUMN, LINE, LEFT, TOP = 0.47, 0.24, 2.6, 2.0  # inches
COLOURS = colormaps["cividis"]
"""From dark to light also in grey, and for colour-blind readers."""
DARK = 0.47
"""Below it white letters stand out more than black ones."""
NOTHING = "#e8e8e8"
GAP = 0.35
"""Of a column, between the worst case, the attacks and the clean run."""
WORST = "worst case"


def heatmap(
    rows: Sequence[str],
    columns: Sequence[str],
    accuracy: Estimates,
    evaluations: Collection[str] = (),
    title: str = "",
) -> Figure:
    """The worst case first, as the robustness board ranks by it, then the attacks, then the clean run."""
    attacked = [column for column in columns if column != CLEAN]
    lowest = {row: worst_case(row, asked(row, attacked, accuracy, evaluations), accuracy)[0] for row in rows}
    order = sorted(rows, key=lambda row: -lowest[row] if not math.isnan(lowest[row]) else math.inf)
    shown = [WORST, *sorted(attacked, key=lambda column: _mean(accuracy, rows, column))]
    shown += [CLEAN] if CLEAN in columns else []
    places = _places(shown)
    figure = Figure(figsize=(COLUMN * (places[-1] + 1) + LEFT, LINE * len(order) + TOP), layout="constrained")
    axes = figure.subplots()
    for line, row in enumerate(order):
        for place, column in zip(places, shown, strict=True):
            if column == WORST:
                tile(axes, place, line, Estimate(lowest[row], math.nan, seeds=1, failed=0))
            else:
                tile(axes, place, line, accuracy.get((row, column), MISSING))
    axes.set(xlim=(-0.5, places[-1] + 0.5), ylim=(len(order) - 0.5, -0.5))
    axes.set_xticks(places, shown, rotation=55, ha="left", rotation_mode="anchor", fontsize=8.5, color=INK)
    axes.set_yticks(range(len(order)), order, fontsize=8.5, color=INK)
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    axes.spines[:].set_visible(False)
    above(figure, title)
    return figure


def _places(shown: Sequence[str]) -> list[float]:
    """Where each column stands: a gap after the worst case, and one before the clean run."""
    places = [0.0]
    for before, column in pairwise(shown):
        places.append(places[-1] + 1 + GAP * (before == WORST or column == CLEAN))
    return places


def tile(axes: Axes, place: float, line: int, value: Estimate) -> None:
    """A coloured tile with the accuracy in %; grey where nothing was measured, 0° where a seed failed."""
    score = value.score
    known = not math.isnan(score)
    colour = COLOURS(score) if known else NOTHING
    axes.add_patch(Rectangle((place - 0.5, line - 0.5), 1, 1, facecolor=colour, edgecolor="white", linewidth=0.8))
    text = (f"{100 * score:.0f}" if known else "–") + ("°" if value.failed else "")
    ink = "white" if known and score < DARK else "black"
    axes.text(place, line, text, ha="center", va="center", fontsize=8, color=ink)


def _score(accuracy: Estimates, row: str, column: str) -> float:
    return accuracy.get((row, column), MISSING).score


def _mean(accuracy: Estimates, rows: Sequence[str], column: str) -> float:
    scores = [score for row in rows if not math.isnan(score := _score(accuracy, row, column))]
    return float(np.mean(scores)) if scores else math.inf
