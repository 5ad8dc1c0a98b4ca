"""DPBFL Fig. 8: the time of a round of each scheme, over FedAvg's in the same run."""

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from bench.reproduce.drawing import grid_of, label
from bench.reproduce.evidence import Evidence, papers_suite
from bench.reproduce.item import Exhibit, Form, Item, Statement, judge
from bench.reproduce.measurements import Experiment, Point
from leaderboards.looks import COLOURS
from leaderboards.plots import INK, png

ID = "dpbfl-fig8"
SUITE = "dpbfl-fig8"
DPBFL, BASE = "dpbfl (gamma=0.283)", "fedavg"
SLIGHTLY = 2.0
ROUNDS = 100
RULE = (
    "median over the rounds of each round's time over FedAvg's in the same round; in shape where DPBFL takes longer "
    f"than FedAvg, but at most {SLIGHTLY:g} times as long, and less than RSA and than median; else not reproduced."
)


def points() -> tuple[Point, ...]:
    """One point: all cells in turn, so that all schemes meet the same state of the machine."""
    return ({"cells": {cell.label: cell.hash for cell in papers_suite(SUITE).cells()}, "rounds": ROUNDS},)


def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Seconds of each round of each scheme, the schemes taking turns; the first round of each is not counted."""
    from bench.data import load
    from bench.federation.engine import Federation
    from bench.plays.findings import build_attack, build_defense
    from bench.threat import ByzantineAttack

    playing = {}
    for cell in papers_suite(SUITE).cells():
        assert cell.attack is not None
        attack = build_attack(cell.attack)
        assert isinstance(attack, ByzantineAttack)
        data = load(cell.federation.dataset, data_root)
        playing[cell.label] = Federation(cell.federation, build_defense(cell), data, seed, attack, cell.byzantine)
    seconds: dict[str, list[float]] = {name: [] for name in playing}
    for at in range(point["rounds"] + 1):
        for name, federation in playing.items():
            before = time.perf_counter()
            federation.advance()
            if at:
                seconds[name].append(round(time.perf_counter() - before, 5))
    return {"seconds": seconds}


def ratios(seconds: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Of each round, over FedAvg's of that round."""
    return {
        name: [mine / base for mine, base in zip(result, seconds[BASE], strict=True)]
        for name, result in seconds.items()
    }


def statements(found: Mapping[str, float]) -> list[Statement]:
    """The rule, on median ratios."""
    text = ", ".join(f"{name} {value:.2f}" for name, value in found.items())
    mine = found[DPBFL]
    return [
        Statement("DPBFL takes slightly more time than FedAvg", 1 < mine <= SLIGHTLY, text),
        Statement("DPBFL takes less time than RSA", mine < found["rsa"], text),
        Statement("DPBFL takes less time than median", mine < found["median"], text),
    ]


def build(evidence: Evidence) -> Exhibit:
    ((one,),) = evidence.measured.values()
    seconds = one.only["seconds"]
    by_round = ratios(seconds)
    median = {name: statistics.median(values) for name, values in by_round.items()}
    quarter = {name: np.percentile(values, [25, 75]).tolist() for name, values in by_round.items()}
    total = {name: sum(values) for name, values in seconds.items()}
    lines = [
        {
            "scheme": name,
            "over FedAvg": f"{median[name]:.2f} [{quarter[name][0]:.2f}, {quarter[name][1]:.2f}]",
            "ms a round": f"{1000 * statistics.median(seconds[name]):.0f}",
            "s in all": f"{total[name]:.1f}",
        }
        for name in seconds
    ]
    return Exhibit(
        measured=", ".join(f"{name} {value:.2f}" for name, value in median.items()) + " times FedAvg's round",
        settings=(
            f"MNIST, softmax, 1000 clients, b = 30 % sign flips, every message drawn, {one.point['rounds']} rounds, "
            f"schemes in turn on one thread of {one.environment.cpu or one.environment.machine}"
        ),
        judged=judge(statements(median)),
        lines=lines,
        numbers=[
            {
                "scheme": name,
                "ratio": median[name],
                "low": quarter[name][0],
                "high": quarter[name][1],
                "seconds": total[name],
            }
            for name in seconds
        ],
        plot=lambda: _plot(median, quarter),
        caption=(
            "Median over the rounds and its quartiles. All clients are simulated in one process: a client's own "
            "training is in the time, and its upload over a network is not."
        ),
    )


def _plot(median: Mapping[str, float], quarter: Mapping[str, Sequence[float]]) -> bytes:
    figure, grid = grid_of(1, 1, height=2.4, width=4.6)
    axes = grid[0][0]
    names = list(median)
    reach = [[median[n] - quarter[n][0] for n in names], [quarter[n][1] - median[n] for n in names]]
    axes.bar(names, [median[n] for n in names], yerr=reach, color=COLOURS[: len(names)], width=0.65, capsize=3)
    axes.axhline(1, color=INK, linewidth=0.9, linestyle=":")
    for at, name in enumerate(names):
        axes.text(at, quarter[name][1], f"{median[name]:.2f}", ha="center", va="bottom", fontsize=8.5, color=INK)
    axes.tick_params(axis="x", labelsize=8)
    label(grid, "scheme at b = 30 % (the paper prints no numbers)", "time of a round / FedAvg's")
    return png(figure)


ITEMS = (
    Item(
        ID,
        "dpbfl",
        "Fig. 8: run time",
        RULE,
        (Form("in full", experiments=(Experiment(ID, measure, points),)),),
        build,
    ),
)
