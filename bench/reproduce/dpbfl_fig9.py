"""DPBFL Fig. 9: accuracy of RSA and DPBFL by the number of workers."""

from dataclasses import replace

import numpy as np

from bench.reproduce.dpbfl_table1 import settings
from bench.reproduce.drawing import grid_of, label, legend, points
from bench.reproduce.evidence import Evidence, Runs
from bench.reproduce.item import Exhibit, Form, Item, Judged, Statement, judge
from leaderboards.estimates import Estimate
from leaderboards.plots import INK, png

WORKERS = (1000, 2000, 3000, 4000, 5000)
B = 0.3
READINGS = {"all images shared out": "", "11 images each": ", 11 samples each"}
SAME = 5000
"""At this number both readings are one cell."""
CLOSE, RISE = 3.0, 0.0
RULE = (
    "in shape where, for one reading of what a worker holds, accuracy at n = 5000 is above that at 1000 for both, and "
    f"DPBFL is within {CLOSE:g} points of RSA at every n; else not reproduced."
)


def row(scheme: str, n: int, reading: str) -> str:
    suffix = "" if n == SAME else READINGS[reading]
    return f"{scheme}, n={n}{suffix}" + (" (gamma=0.283)" if scheme == "dpbfl" else "")


def found(runs: Runs, scheme: str, n: int, reading: str) -> Estimate:
    return runs.accuracy(row(scheme, n, reading), "sign_flip", B)


def statements(runs: Runs) -> list[Statement]:
    """The two sentences for the reading that fits better."""
    told = []
    for reading in READINGS:
        curves = {s: [100 * found(runs, s, n, reading).score for n in WORKERS] for s in ("rsa", "dpbfl")}
        rise = {scheme: values[-1] - values[0] for scheme, values in curves.items()}
        gap = max(abs(a - b) for a, b in zip(curves["rsa"], curves["dpbfl"], strict=True))
        rises = ", ".join(f"{scheme} {value:+.1f}" for scheme, value in rise.items())
        told.append(
            [
                Statement("accuracy rises with the workers", min(rise.values()) > RISE, f"{reading}: {rises} points"),
                Statement("DPBFL is close to RSA", gap <= CLOSE, f"{reading}: at most {gap:.1f} points apart"),
            ]
        )
    return max(told, key=lambda pair: sum(one.holds for one in pair))


def verdict(runs: Runs) -> Judged:
    """The rule; where all holds, with the reading and its numbers, which are told of what does not hold anyway."""
    said = statements(runs)
    judged = judge(said)
    if not all(one.holds for one in said):
        return judged
    return replace(judged, reason=f"{judged.reason} ({'; '.join(one.found for one in said)})")


def build(evidence: Evidence) -> Exhibit:
    runs = evidence.only
    cells = [(reading, scheme) for reading in READINGS for scheme in ("rsa", "dpbfl")]
    lines = [
        {
            "a worker holds": reading,
            "row": scheme,
            **{f"n = {n}": found(runs, scheme, n, reading).text() for n in WORKERS},
        }
        for reading, scheme in cells
    ]
    numbers = [
        {
            "reading": reading,
            "row": scheme,
            "n": n,
            "accuracy": 100 * one.mean,
            "half_width": 100 * one.half_width,
            "seeds": one.seeds,
        }
        for reading, scheme in cells
        for n in WORKERS
        if (one := found(runs, scheme, n, reading))
    ]
    ends = "; ".join(
        f"{scheme}, {reading}: {lines[at]['n = 1000']} to {lines[at]['n = 5000']}"
        for at, (reading, scheme) in enumerate(cells)
    )
    return Exhibit(
        measured=f"n = 1000 to 5000, {ends}; {runs.seeds}",
        settings=f"{settings(runs)}, b = 30 % sign flips, gamma = 0.283",
        judged=verdict(runs),
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot(runs),
        caption="Test accuracy of the last round in %, mean and 95 % t interval.",
    )


def _plot(runs: Runs) -> bytes:
    figure, grid = grid_of(1, 2)
    for axes, reading in zip(grid[0], READINGS, strict=True):
        axes.set_title(reading, fontsize=9, color=INK, loc="left")
        for look, scheme in enumerate(("rsa", "dpbfl")):
            values = [found(runs, scheme, n, reading) for n in WORKERS]
            width = [100 * np.nan_to_num(one.half_width) for one in values]
            points(axes, WORKERS, [100 * one.mean for one in values], look, width, width)
    label(grid, "workers n (the paper prints no numbers)", "test accuracy in %")
    legend(figure, ("rsa", "dpbfl"))
    return png(figure)


ITEMS = (
    Item(
        "dpbfl-fig9", "dpbfl", "Fig. 9: number of workers", RULE, (Form("in full", ("dpbfl-fig9",), heavy=True),), build
    ),
)
