"""The history as a picture: a panel a benchmark, its normalised time from run to run, one colour a class of machine."""

import math
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from bench.base.errors import BadInputError
from bench.perf.history import Entry, Figure
from bench.perf.report import machine, seconds
from bench.records.comparison import MachineClass

COLUMNS = 3
PANEL = (4.2, 2.1)  # inches
MARGIN = 1.4
MOST_LABELS = 10
COLOURS = ("#3b6ea8", "#d9822b", "#4f9d69", "#a8577e", "#7a6fb0", "#6b6b6b")
FAINT = "#d8d8d8"
INK = "#333333"
TITLE = "Time over the calibration kernels', run by run: median and range over passes; lower is faster"


def draw(entries: Sequence[Entry], path: Path) -> None:
    """Write the picture; its format is the path's ending. `BadInputError` where it cannot be written."""
    names = list(dict.fromkeys(name for entry in entries for name in entry.benchmarks))
    colours = dict(zip(dict.fromkeys(entry.machine_class for entry in entries), cycle(COLOURS), strict=False))
    columns = min(COLUMNS, len(names))
    rows = math.ceil(len(names) / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.1)
    canvas = Canvas(figsize=(PANEL[0] * columns, PANEL[1] * rows + MARGIN), layout=layout)
    panels = canvas.subplots(rows, columns, squeeze=False).flatten()
    for index, (panel, name) in enumerate(zip(panels, names, strict=False)):
        _panel(panel, name, entries, colours)
        _runs(panel, entries, labelled=index // columns == rows - 1)
    for panel in panels[len(names) :]:
        panel.set_visible(False)
    _legend(canvas, entries, colours)
    canvas.suptitle(TITLE, fontsize=12, color=INK, x=0.01, ha="left")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        canvas.savefig(path, dpi=150, facecolor="white")
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot draw {path}: {error}") from None


def _panel(panel: Axes, name: str, entries: Sequence[Entry], colours: Mapping[MachineClass, str]) -> None:
    results = {index: entry for index, entry in enumerate(entries) if name in entry.benchmarks}
    for machine_class, colour in colours.items():
        mine = [
            (index, entry.benchmarks[name]) for index, entry in results.items() if entry.machine_class == machine_class
        ]
        if mine:
            _line(panel, mine, colour, told=mine[-1][0] == max(results))
    panel.set_title(name, fontsize=10, color=INK, loc="left", pad=8)
    _log_scale(panel)
    panel.grid(axis="y", color=FAINT, linewidth=0.6)
    panel.set_axisbelow(True)
    panel.spines[["top", "right", "left"]].set_visible(False)
    panel.spines["bottom"].set_color(FAINT)
    panel.tick_params(which="both", length=0, colors=INK)


def _line(panel: Axes, found: Sequence[tuple[int, Figure]], colour: str, told: bool) -> None:
    """One class's figures; `told` writes the last one's seconds beside it."""
    places = [index for index, _ in found]
    middles = [figure.median for _, figure in found]
    lows, highs = [figure.low for _, figure in found], [figure.high for _, figure in found]
    panel.fill_between(places, lows, highs, color=colour, alpha=0.15, linewidth=0)
    panel.vlines(places, lows, highs, color=colour, alpha=0.5, linewidth=1.2)
    panel.plot(places, middles, color=colour, marker="o", markersize=3.5, linewidth=1.4)
    if told:
        text = seconds(found[-1][1].seconds)
        text += f"\n{middles[-1] / middles[0]:.2f}x the first" if len(found) > 1 else ""
        at = (places[-1], middles[-1])
        panel.annotate(text, at, (7, 0), textcoords="offset points", va="center", fontsize=8, color=colour)


def _runs(panel: Axes, entries: Sequence[Entry], labelled: bool) -> None:
    """The axis of runs, with room for a text at its end; commits below it where `labelled`, not too many."""
    panel.set_xlim(-0.5, 1.3 * len(entries) - 0.5)
    shown = range(0, len(entries), math.ceil(len(entries) / MOST_LABELS)) if labelled else range(0)
    commits = [_commit(entries[index]) for index in shown]
    panel.set_xticks(list(shown), commits, fontsize=7.5, rotation=45, ha="right", rotation_mode="anchor")


def _log_scale(panel: Axes) -> None:
    """At least a factor of two in view, so that noise looks like noise."""
    panel.set_yscale("log")
    low, high = panel.get_ylim()
    widen = max(1.0, math.sqrt(2 * low / high)) * 1.15
    panel.set_ylim(low / widen, high * widen)
    panel.yaxis.set_major_locator(MaxNLocator(4, steps=[1, 2, 5, 10]))
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="y", labelsize=7.5)


def _legend(canvas: Canvas, entries: Sequence[Entry], colours: Mapping[MachineClass, str]) -> None:
    newest = {entry.machine_class: entry for entry in entries}
    lines = [Line2D([], [], color=colour, marker="o", markersize=4) for colour in colours.values()]
    labels = [machine(newest[machine_class]) for machine_class in colours]
    canvas.legend(lines, labels, loc="outside lower left", fontsize=8.5, frameon=False, labelcolor=INK)


def _commit(entry: Entry) -> str:
    """The commit's beginning, with a star where the code had changes."""
    commit = entry.environment.commit
    if commit is None:
        return f"{entry.date:%m-%d}"
    return commit.removesuffix("-dirty")[:7] + ("*" if commit.endswith("-dirty") else "")
