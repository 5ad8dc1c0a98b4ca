"""Plots of what grows with rho: what is recovered, and how much noise is left; what all plots share."""

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray
from PIL import Image

from bench.privacy.papers.noise_sharing import niss_collusion_variance
from leaderboards.estimates import Estimates
from leaderboards.looks import Look, looks
from leaderboards.sweeps import Sweep

DPI = 100
PANEL = (3.3, 2.7)  # inches
LEGEND = 2.3
LEADER: dict[str, Any] = {"arrowstyle": "-", "linewidth": 0.8, "shrinkA": 1, "shrinkB": 3, "relpos": (0, 0.5)}
"""The line from a name to its curve."""
DASHES = ((5, 2), (2, 2), (7, 2, 2, 2), (9, 3))
"""Of lines that have one colour, points on and off."""
FAINT, INK = "#d8d8d8", "#333333"
LOSSLESS = 50.0
"""dB beyond which a reconstruction is as good as the original."""
DODGE, SPREAD = 0.012, 0.06
"""How far apart in rho curves are drawn, so that no interval hides another, and all of them together."""
LONGEST_NAME = 30
"""Characters of a line of a name beside its curve."""
LETTERS = 11.5
"""Characters of a title that fit into an inch."""
NAME_GAP = 0.078
"""Of an axis's height, between the middles of two lines of names."""


LEGEND_TEXT: dict[str, Any] = {"frameon": False, "fontsize": 8.5, "labelcolor": INK}


@dataclass(frozen=True)
class Curve:
    """Values by rho with the ends of their intervals; rounded to what can be seen, so that equal values are equal."""

    rho: tuple[float, ...]
    value: tuple[float, ...]
    low: tuple[float, ...] = field(compare=False)
    high: tuple[float, ...] = field(compare=False)

    @property
    def errors(self) -> NDArray[np.float64]:
        """`(2, k)`: how far the interval reaches below and above; 0 where there is none."""
        reach = np.stack([np.subtract(self.value, self.low), np.subtract(self.high, self.value)])
        known: NDArray[np.float64] = np.where(np.isnan(reach), 0.0, np.maximum(reach, 0.0))
        return known


def curve(row: str, sweep: Sweep, found: Estimates, scale: float = 1.0, most: float = math.inf) -> Curve:
    """The row's values wherever they were measured, in units of 1 / scale; larger ones than `most` count as that."""
    points = {rho: found[row, column] for rho, column in sweep.items() if (row, column) in found}
    known = {rho: value for rho, value in points.items() if value.seeds}
    ends = np.array([(value.mean, *value.ends) for value in known.values()]).reshape(-1, 3) * scale
    value, low, high = (tuple(part) for part in ends.clip(max=most).round(2).T.tolist())
    return Curve(tuple(known), value, low, high)


def leakage(
    sweeps: Mapping[str, Sweep],
    rows: Sequence[str],
    recovered: Estimates,
    psnr: Estimates,
    threshold: float,
    title: str = "",
) -> Figure:
    """Share of images recovered, with its interval, and mean PSNR against rho: a column of panels an attack."""
    shares = {row: [curve(row, sweep, recovered, scale=100) for sweep in sweeps.values()] for row in rows}
    levels = {row: [curve(row, sweep, psnr, most=LOSSLESS) for sweep in sweeps.values()] for row in rows}
    groups = _alike({row: (*shares[row], *levels[row]) for row in rows})
    figure, panels = _panels(2, sweeps)
    panels[0, 0].set(ylabel="images recovered in %", ylim=(-4, 104))
    panels[1, 0].set(ylabel="mean PSNR in dB", ylim=(-1, LOSSLESS + 2))
    panels[1, 0].set_yticks([0, 10, 20, 30, 40, LOSSLESS], ["0", "10", "20", "30", "40", f"{LOSSLESS:g}+"])
    named: set[str] = set()
    for line, curves in zip(panels, (shares, levels), strict=True):
        for index, axes in enumerate(line):
            shown = {row: _joint([curves[one][index] for one in group]) for row, group in groups.items()}
            _draw(axes, shown, rows)
        _name(line[-1], shown, groups, rows)
        named |= {row for row, result in shown.items() if result.rho}
    for axes in panels[1]:
        axes.axhline(threshold, color=INK, linewidth=0.9, linestyle=":")
    unnamed = {row: group for row, group in groups.items() if row not in named}
    _legend(figure, rows, unnamed, {f"{threshold:g} dB: recovered": _line(INK, ":")})
    above(figure, title)
    return figure


def noise(
    sweeps: Mapping[str, Sweep],
    rows: Sequence[str],
    ratio: Estimates,
    shared: Mapping[str, float],
    title: str = "",
) -> Figure:
    """Noise left over what the claim needs against rho, and Theorem 3's line for the tau^2 of rows that share it."""
    curves = {row: [curve(row, sweep, ratio) for sweep in sweeps.values()] for row in rows}
    groups = _alike({row: tuple(result) for row, result in curves.items()})
    rho, look = np.linspace(0, 1, 101), dict[float, str]()
    for row, tau_squared in shared.items():
        look.setdefault(tau_squared, looks(rows)[row].hexadecimal)
    figure, panels = _panels(1, sweeps)
    for index, axes in enumerate(panels[0]):
        for (tau_squared, colour), dashes in zip(look.items(), cycle(DASHES), strict=False):
            axes.plot(rho, niss_collusion_variance(1.0, tau_squared, rho), color=colour, linestyle="--", dashes=dashes)
        axes.axhline(1.0, color=INK, linewidth=0.9, linestyle=":")
        shown = {row: _joint([curves[one][index] for one in group]) for row, group in groups.items()}
        _draw(axes, shown, rows, joined=False)
    panels[0, 0].set(ylabel="noise left / noise needed")
    panels[0, 0].set_ylim(-0.07, max(1.15, panels[0, 0].get_ylim()[1]))
    _name(panels[0, -1], shown, groups, rows)
    lines = {
        f"Theorem 3, τ² = {tau_squared:g}": _line(colour, "--", dashes)
        for (tau_squared, colour), dashes in zip(look.items(), cycle(DASHES), strict=False)
    }
    unnamed = {row: group for row, group in groups.items() if not shown[row].rho}
    _legend(figure, rows, unnamed, {**lines, "what the claim needs": _line(INK, ":")})
    above(figure, title)
    return figure


def png(figure: Figure) -> bytes:
    """The figure in at most 256 colours, a third of the bytes, in a file that says nothing of when it was drawn.

    By maximum coverage: a median cut gives a colour of few pixels, such as a lone curve's, away to its neighbours.
    """
    drawn, buffer = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png", dpi=DPI, facecolor="white", metadata={"Software": None})
    whole = Image.open(drawn).convert("RGB")
    few = whole.quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    few.save(buffer, format="png", optimize=True)
    return buffer.getvalue()


def _joint(curves: Sequence[Curve]) -> Curve:
    """One curve for equal ones; its intervals hold all of theirs."""
    low, high = (np.array([getattr(one, end) for one in curves]) for end in ("low", "high"))
    return replace(curves[0], low=tuple(np.fmin.reduce(low).tolist()), high=tuple(np.fmax.reduce(high).tolist()))


def _alike(curves: Mapping[str, tuple[Curve, ...]]) -> dict[str, list[str]]:
    """The rows whose curves are equal, by the first of them: it would hide the others. Without those that have none."""
    groups: dict[tuple[Curve, ...], list[str]] = {}
    for row, result in curves.items():
        if any(part.rho for part in result):
            groups.setdefault(result, []).append(row)
    return {rows[0]: rows for rows in groups.values()}


def _panels(lines: int, sweeps: Mapping[str, Sweep]) -> tuple[Figure, NDArray[np.object_]]:
    """A line of panels for each quantity, a column for each attack, with its name above."""
    figure = Figure(figsize=(PANEL[0] * len(sweeps) + LEGEND, PANEL[1] * lines + 0.9), layout="constrained")
    panels = figure.subplots(lines, len(sweeps), squeeze=False, sharex="col", sharey="row")
    for axes in panels.flat:
        frame(axes, "y")
    for axes, (name, sweep) in zip(panels[0], sweeps.items(), strict=True):
        axes.set_title(name, fontsize=10, color=INK, loc="left")
        axes.set_xticks(list(sweep), [f"{rho:g}" for rho in sweep])
    for axes in panels[-1]:
        axes.set_xlabel("ρ, share of the others that collude", color=INK)
    return figure, panels


def _draw(axes: Axes, curves: Mapping[str, Curve], rows: Sequence[str], joined: bool = True) -> None:
    look = looks(rows)
    for index, (row, result) in enumerate(curves.items()):
        shift = min(DODGE, SPREAD / len(curves)) * (index - (len(curves) - 1) / 2)
        axes.errorbar(
            np.add(result.rho, shift),
            result.value,
            result.errors,
            **_look(look[row]),
            linestyle="-" if joined else "none",
            linewidth=1.2,
            capsize=2.5,
        )


def _look(look: Look) -> dict[str, Any]:
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"color": look.hexadecimal, "marker": look.marker, "markersize": 6, **edge}


def _line(colour: str, linestyle: Literal["--", ":"], dashes: tuple[int, ...] = ()) -> Line2D:
    line = Line2D([], [], color=colour, linestyle=linestyle, linewidth=1.2)
    if dashes:
        line.set_dashes(dashes)
    return line


def _name(axes: Axes, curves: Mapping[str, Curve], groups: Mapping[str, list[str]], rows: Sequence[str]) -> None:
    """The rows' names beside the ends of their curves, in a panel's right margin; no name stands over another."""
    low, high = axes.get_ylim()
    ends = {row: (curves[row].value[-1] - low) / (high - low) for row in groups if row in curves and curves[row].rho}
    look, texts = looks(rows), {row: textwrap.fill(", ".join(groups[row]), LONGEST_NAME) for row in ends}
    spots = {row: (curves[row].rho[-1], curves[row].value[-1]) for row in ends}
    name_beside(axes, spots, texts, {row: look[row].hexadecimal for row in ends})


def name_beside(
    axes: Axes, ends: Mapping[str, tuple[float, float]], texts: Mapping[str, str], colours: Mapping[str, str]
) -> None:
    """Names in a panel's right margin, each with a line to the end of its curve; no name stands over another."""
    low, high = axes.get_ylim()
    wanted = {row: (y - low) / (high - low) for row, (_, y) in ends.items()}
    sizes = {row: NAME_GAP * (1 + texts[row].count("\n")) for row in ends}
    for row, place in spread(wanted, sizes).items():
        axes.annotate(
            texts[row],
            ends[row],
            (1.05, place),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            color=INK,
            arrowprops={**LEADER, "color": colours[row]},
        )


def spread(wanted: Mapping[str, float], sizes: Mapping[str, float]) -> dict[str, float]:
    """A place for each name, in the order of what is wanted, the nearest from the bottom up so that none overlap."""
    results: dict[str, float] = {}
    edge = -math.inf
    for name in sorted(wanted, key=lambda name: wanted[name]):
        results[name] = max(wanted[name], edge + sizes[name] / 2)
        edge = results[name] + sizes[name] / 2
    over = max(0.0, edge - 1 - max(sizes.values(), default=0.0) / 2)
    names = list(results)[::-1]
    for name, above in zip(names, (None, *names), strict=False):  # push down what stands above the axis
        most = results[name] - over if above is None else results[above] - (sizes[above] + sizes[name]) / 2
        results[name] = min(results[name], most)
    return results


def _legend(figure: Figure, rows: Sequence[str], groups: Mapping[str, list[str]], lines: Mapping[str, Line2D]) -> None:
    """Lines that are no row's, and rows without a name beside a curve."""
    look = looks(rows)
    marks = {", ".join(group): Line2D([], [], linestyle="none", **_look(look[row])) for row, group in groups.items()}
    entries = {**marks, **lines}
    names = [textwrap.fill(text, LONGEST_NAME) for text in entries]
    columns = min(4, len(entries))
    figure.legend(list(entries.values()), names, loc="outside lower left", ncols=columns, **LEGEND_TEXT)


def above(figure: Figure, title: str) -> None:
    """What is seen, in a sentence over all panels."""
    told = textwrap.fill(title, round(LETTERS * figure.get_figwidth()))
    figure.suptitle(told, x=0.01, ha="left", fontsize=10.5, color=INK)


def frame(axes: Axes, grid: Literal["x", "y"]) -> None:
    axes.grid(axis=grid, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(which="both", length=0, colors=INK, labelsize=8.5)
