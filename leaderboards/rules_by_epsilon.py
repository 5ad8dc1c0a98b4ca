"""Accuracy by epsilon, a line a rule: without an attack, and in the rule's worst column."""

import math
from collections.abc import Sequence
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bench.base.names import plain
from leaderboards.estimates import Estimate
from leaderboards.looks import looks
from leaderboards.noisy_rules import MEAN, Noisy
from leaderboards.plots import INK, LEGEND, PANEL, above, frame, name_beside

APART = 0.035
"""How far apart rules are drawn at one epsilon, so that no interval hides another."""


def rules_by_epsilon(found: Sequence[Noisy], title: str = "") -> Figure:
    """Two panels; the mean is drawn thick. Epsilons stand side by side, the smallest left."""
    rules = list(dict.fromkeys(one.rule for one in found))
    figure = Figure(figsize=(2 * PANEL[0] * 1.15 + LEGEND * 0.8, PANEL[1] * 1.15), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    _panel(panels[0], rules, found, "clean")
    panels[0].set_title("without an attack", fontsize=10, color=INK, loc="left")
    panels[1].set_title("in the worst column", fontsize=10, color=INK, loc="left")
    panels[0].set_ylabel("accuracy in %", color=INK, fontsize=8.5)
    ends = _panel(panels[1], rules, found, "worst")
    name_beside(panels[1], ends, {rule: rule for rule in ends}, {rule: _style(rules, rule)["color"] for rule in ends})
    above(figure, title)
    return figure


def _style(rules: Sequence[str], rule: str) -> dict[str, Any]:
    return {**_look_of_row(rules, rule), **({"linewidth": 2.4} if rule == MEAN else {})}


def _panel(
    axes: Axes, rules: Sequence[str], found: Sequence[Noisy], metric: Literal["clean", "worst"]
) -> dict[str, tuple[float, float]]:
    """Draws the curves; returns the end of each."""
    frame(axes, "y")
    ends: dict[str, tuple[float, float]] = {}
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
        ends[rule] = (x[-1], 100 * points[-1][1].mean)
    axes.set_xticks(range(len(levels)), [plain(level) for level in levels])
    axes.set(xlim=(-0.4, len(levels) - 0.6), ylim=(0, 100))
    axes.set_xlabel("ε of one upload", color=INK, fontsize=8.5)
    return ends


def _look_of_row(rows: Sequence[str], row: str) -> dict[str, Any]:
    """A row's own colour and marker; dashed where a row before it has the colour."""
    result = looks(rows)
    style = result[row]
    before = rows[: rows.index(row)]
    line = "--" if any(result[other].colour == style.colour for other in before) else "-"
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5, "markersize": 6}
    return {"color": style.hexadecimal, "marker": style.marker, "linewidth": 1.2, "linestyle": line, **edge}
