"""Accuracy by epsilon, a line a rule: without an attack, and in the rule's worst column."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from leaderboards.estimates import Estimate
from leaderboards.levels import look_of_row
from leaderboards.noisy_rules import MEAN, Noisy, short
from leaderboards.plots import INK, LEGEND, LEGEND_TEXT, PANEL, frame

APART = 0.035
"""How far apart rules are drawn at one epsilon, so that no interval hides another."""


def rules_by_epsilon(found: Sequence[Noisy]) -> Figure:
    """Two panels; the mean is drawn thick. Epsilons stand side by side, the smallest left."""
    rules = list(dict.fromkeys(one.rule for one in found))
    figure = Figure(figsize=(2 * PANEL[0] * 1.15 + LEGEND * 0.8, PANEL[1] * 1.15), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    _panel(panels[0], rules, found, "clean")
    _panel(panels[1], rules, found, "worst")
    panels[0].set_title("without an attack", fontsize=10, color=INK, loc="left")
    panels[1].set_title("in the worst column", fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("accuracy in %", color=INK, fontsize=8.5)
    handles = [Line2D([], [], **_style(rules, rule)) for rule in rules]
    figure.legend(handles, rules, loc="outside right upper", **LEGEND_TEXT)
    return figure


def _style(rules: Sequence[str], rule: str) -> dict[str, Any]:
    return {**look_of_row(rules, rule), **({"linewidth": 2.4} if rule == MEAN else {})}


def _panel(axes: Axes, rules: Sequence[str], found: Sequence[Noisy], metric: Literal["clean", "worst"]) -> None:
    frame(axes, "y")
    levels = sorted({one.epsilon for one in found})
    for number, rule in enumerate(rules):
        shift = APART * (number - (len(rules) - 1) / 2)
        points: list[tuple[float, Estimate]] = [
            (levels.index(one.epsilon) + shift, getattr(one, metric)) for one in found if one.rule == rule
        ]
        points = [(x, value) for x, value in points if not math.isnan(value.mean)]
        if not points:
            continue
        x = [place for place, _ in points]
        style = _style(rules, rule)
        for place, value in points:
            low, high = value.ends
            axes.vlines(place, 100 * low, 100 * high, color=style["color"], linewidth=0.8, alpha=0.6)
        axes.plot(x, [100 * value.mean for _, value in points], **style, clip_on=False)
    axes.set_xticks(range(len(levels)), [short(level) for level in levels])
    axes.set(xlim=(-0.4, len(levels) - 0.6), ylim=(0, 100))
    axes.set_xlabel("ε of one upload", color=INK, fontsize=8.5)
