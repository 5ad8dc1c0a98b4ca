"""The board of robust rules under privacy noise: what a rule costs without an attack, and what it saves under one.

Both are held against the mean at the same epsilon, seed by seed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from bench.base.names import plain
from bench.records import Record
from leaderboards.board import Board, Line, make_board, numbers
from leaderboards.estimates import MISSING, Estimate, Estimates, of_values
from leaderboards.frame import CLEAN
from leaderboards.robustness import worst_case

NOISY = "robust_dp_fedavg"
"""The defense whose rows these are."""
MEAN = "fedavg"
CAPTION = (
    "Clients upload what DP-FedAvg's do, with noise for the claimed ε of one upload; the rule aggregates. Accuracy on "
    "the test split in %, and the worst column, mean and 95 % t interval over the seeds. Against the mean: the rule's "
    "accuracy less that of the row with the mean at the same ε, in points, paired by seed, without an attack and each "
    "in its own worst column; ✓ where the interval lies above 0, ✗ where it lies below."
)


@dataclass(frozen=True)
class Noisy:
    """A row: its rule, the epsilon of one upload, its accuracy without an attack and in its worst column.

    `clean_gain` and `worst_gain` are the accuracy less that of the mean at the same epsilon; `MISSING` for the mean.
    """

    row: str
    rule: str
    epsilon: float
    clean: Estimate
    worst: Estimate
    where: str
    clean_gain: Estimate = MISSING
    worst_gain: Estimate = MISSING


def noisy_rules(
    rows: Sequence[str], attacked: Sequence[str], accuracy: Estimates, training: pd.DataFrame, records: Sequence[Record]
) -> list[Noisy]:
    """The rows that are such defenses, by epsilon; none unless each rule has one row an epsilon, at two of them.

    `attacked` are the columns with an attack, `training` has the records.
    """
    kinds = {
        record.cell.label: record.cell.defense.parameters for record in records if record.cell.defense.name == NOISY
    }
    mine = {row: (float(kinds[row]["epsilon"]), rule_of(kinds[row])) for row in rows if row in kinds}
    if len(set(mine.values())) < len(mine) or len({epsilon for epsilon, _ in mine.values()}) < 2:
        return []
    worst = {row: worst_case(row, [*attacked], accuracy)[1] for row in mine}
    seeds = _by_seed(training)
    results = []
    for row, (epsilon, rule) in sorted(mine.items(), key=lambda one: one[1][0]):
        other = next((other for other, place in mine.items() if place == (epsilon, MEAN) and other != row), None)
        gains = (MISSING, MISSING)
        if other is not None:
            unattacked = _gain(seeds.get((row, CLEAN), {}), seeds.get((other, CLEAN), {}))
            gains = unattacked, _gain(seeds.get((row, worst[row]), {}), seeds.get((other, worst[other]), {}))
        clean, hardest = (accuracy.get((row, column), MISSING) for column in (CLEAN, worst[row]))
        results.append(Noisy(row, rule, epsilon, clean, hardest, worst[row], *gains))
    return results


def rule_of(parameters: Mapping[str, Any]) -> str:
    """`median`, and `nnm + trimmed_mean` of a pre-aggregation."""
    inner = parameters.get("parameters") or {}
    return str(parameters["rule"]) + (f" + {rule_of(inner)}" if "rule" in inner else "")


def _by_seed(training: pd.DataFrame) -> dict[tuple[str, str], dict[int, float]]:
    """Accuracy of the runs that finished, by (row, column), then by seed."""
    results: dict[tuple[str, str], dict[int, float]] = {}
    for line in training[training["status"] == "ok"].to_dict(orient="records"):
        place = str(line["defense"]), str(line["column"])
        results.setdefault(place, {})[int(line["seed"])] = float(line["accuracy"])
    return results


def _gain(mine: Mapping[int, float], other: Mapping[int, float]) -> Estimate:
    """The mean difference over the seeds that finished in both."""
    both = sorted(mine.keys() & other.keys())
    return of_values(np.array([mine[seed] - other[seed] for seed in both], dtype=float), "gain") if both else MISSING


def noisy_rules_board(found: Sequence[Noisy]) -> Board:
    """A line a row; nothing to show where there is none."""
    measured = {
        "clean_gain": {(one.row, CLEAN): one.clean_gain for one in found if one.clean_gain.seeds},
        "worst_gain": {(one.row, one.where): one.worst_gain for one in found if one.worst_gain.seeds},
    }
    data = [number for metric, values in measured.items() for number in numbers(metric, values)]
    title = "Robust rules under privacy noise"
    return make_board("noisy-rules", title, CAPTION, [_line(one) for one in found], data)


def _line(one: Noisy) -> Line:
    return {
        "defense": one.row,
        "rule": one.rule,
        "ε an upload": plain(one.epsilon),
        "clean": one.clean.text(),
        "worst": f"{one.worst.text()} ({one.where})" if one.where else "–",
        "clean, against the mean": _difference(one.clean_gain),
        "worst, against the mean": _difference(one.worst_gain),
    }


def _difference(gain: Estimate) -> str:
    if not gain.seeds:
        return "–"
    low, high = gain.ends
    sign = " ✓" if low > 0 else " ✗" if high < 0 else ""
    return f"{gain.mean:+.1%}".removesuffix("%") + f" ± {100 * gain.half_width:.1f}" + sign * (gain.seeds > 1)
