"""DPBFL Fig. 5: what ten random workers hold, and whether all workers together hold what the law says."""

from typing import Any

import numpy as np

from bench.base import rng
from bench.reproduce.drawing import grid_of, label
from bench.reproduce.evidence import Evidence
from bench.reproduce.item import Exhibit, Form, Item, Judged, Verdict
from bench.reproduce.measurements import Experiment, Point
from bench.reproduce.papers import stated
from leaderboards.plots import INK, LEGEND_TEXT, png

ID = "dpbfl-fig5"
CLIENTS, CLASSES = 1000, 10
READINGS = {"0.2 a class": 2.0, "0.2 in all (Hsu et al.)": 0.2}
"""alpha of `FederationSettings`, times class frequencies, for each reading of alpha = 0.2."""
TOLERANCE = 0.05
COLOURS = ("#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f", "#edc948", "#b07aa1", "#ff9da7", "#9c755f", "#bab0ac")
RULE = (
    "the figure is one random draw, and only its law can be compared: in shape where, for one of the two readings of "
    f"alpha, the mean over 1000 workers of the sum of squared class shares is within {TOLERANCE:.0%} of that of a "
    "Dirichlet distribution, counted over as many samples as a worker holds; else not reproduced."
)


def points() -> tuple[Point, ...]:
    return tuple({"reading": name, "alpha": alpha, "clients": CLIENTS} for name, alpha in READINGS.items())


def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Class counts of ten random workers of the partition of a cell with this seed, and the concentration of all."""
    from bench.data import class_counts, load, partition

    labels = load("mnist", data_root).train.y
    drawn = rng.generator(seed, "partition")
    indices = partition("dirichlet", labels, point["clients"], None, drawn, alpha=point["alpha"])
    counts = class_counts(labels, indices, CLASSES)
    size = int(counts[0].sum())
    shown = rng.shuffled(len(counts), rng.generator(seed, "figure 5"))[: stated()[ID].number("workers")]
    return {
        "samples": size,
        "counts": counts[shown].tolist(),
        "concentration": float((counts.double() / size).square().sum(dim=1).mean()),
    }


def expected_concentration(alpha: float, samples: int) -> float:
    """Mean of the sum of squared shares among `samples` draws from p ~ Dir(alpha / K, ..., alpha / K).

    E[sum p^2] = (alpha / K + 1) / (alpha + 1), and a share counted over s draws adds (1 - E[sum p^2]) / s.
    """
    squares = (alpha / CLASSES + 1) / (alpha + 1)
    return squares + (1 - squares) / samples


def verdict(found: dict[str, tuple[float, float]]) -> Judged:
    """The rule; measured and expected by reading."""
    close = [name for name, (mine, law) in found.items() if abs(mine / law - 1) <= TOLERANCE]
    if close:
        return Judged(
            Verdict.SHAPE, f"the law holds for {' and '.join(close)}; the paper's own draw has no printed numbers"
        )
    return Judged(Verdict.NOT, "the concentration is not the law's")


def build(evidence: Evidence) -> Exhibit:
    results = {one.point["reading"]: one for one in evidence.measured[ID]}
    both = {
        name: (one.only["concentration"], expected_concentration(one.point["alpha"], one.only["samples"]))
        for name, one in results.items()
    }
    text = ", ".join(f"{mine:.3f} for {law:.3f} ({name})" for name, (mine, law) in both.items())
    lines = [
        {"alpha = 0.2 is": name, "worker": str(at + 1), **{str(k): str(count) for k, count in enumerate(counts)}}
        for name, one in results.items()
        for at, counts in enumerate(one.only["counts"])
    ]
    numbers = [
        {"reading": name, "worker": at + 1, "class": k, "samples": count}
        for name, one in results.items()
        for at, counts in enumerate(one.only["counts"])
        for k, count in enumerate(counts)
    ]
    return Exhibit(
        measured=f"mean sum of squared class shares {text}",
        settings="MNIST over 1000 workers, 55 samples each; ten of them drawn at random; seed 0",
        judged=verdict(both),
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot({name: np.array(one.only["counts"]) for name, one in results.items()}),
        caption=(
            "Samples of each class. All training cells take the first reading, which public code calls alpha = 0.2."
        ),
    )


def _plot(counts: dict[str, Any]) -> bytes:
    figure, grid = grid_of(1, len(counts), height=3.2, width=3.6)
    for axes, (name, held) in zip(grid[0], counts.items(), strict=True):
        left = np.zeros(len(held))
        for k in range(CLASSES):
            axes.barh(np.arange(1, len(held) + 1), held[:, k], left=left, color=COLOURS[k], height=0.8, label=str(k))
            left += held[:, k]
        axes.set_title(f"alpha = 0.2: {name}", fontsize=9, color=INK, loc="left")
        axes.set_yticks(range(1, len(held) + 1))
        axes.grid(visible=False)
    label(grid, "samples", "worker")
    handles, names = grid[0][0].get_legend_handles_labels()
    figure.legend(handles, names, title="class", loc="outside right upper", **LEGEND_TEXT)
    return png(figure)


ITEMS = (
    Item(
        ID,
        "dpbfl",
        "Fig. 5: class distribution",
        RULE,
        (Form("in full", experiments=(Experiment(ID, measure, points),)),),
        build,
    ),
)
