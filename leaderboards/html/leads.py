"""Where a number on a board leads: the threat model whose records it comes from, also where it stands for several."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from leaderboards.board import Board
from leaderboards.estimates import Estimate, Estimates
from leaderboards.frame import CLEAN

Place = tuple[str, str]
"""(row, column), where records lie."""

MEASURED = {
    "robustness": "accuracy",
    "backdoor": "backdoor_success",
    "privacy": "recovered",
    "noise": "residual_noise_ratio",
    "audits": "epsilon_audited",
    "membership": "tpr_at_1",
    "property": "explained",
}
"""The metric that stands in a board's columns."""
BADNESS: dict[str, Callable[[Estimate], float]] = {
    "robustness": lambda value: -value.score,
    "privacy": lambda value: value.mean,
    "membership": lambda value: value.mean,
    "property": lambda value: value.mean,
}
"""What the worst column of a ranked board has most of."""


@dataclass(frozen=True)
class Leads:
    """The columns in reading order, the places that have records, and by ranked board each row's worst column."""

    columns: Sequence[str]
    places: Collection[Place]
    worst: Mapping[str, Mapping[str, str]]

    def of(self, board: str, row: str, header: str, text: str) -> Place | None:
        """Of what stands beside a board's columns; None where no record stands behind it alone."""
        ranking = header if board == "overall" else board if header == "worst case" else ""
        column: str | None = None
        if ranking in self.worst:
            column = self.worst[ranking].get(row)
        elif "utility" in (board, header) and header != "rank":
            column = CLEAN
        elif header in ("claimed", "composed"):
            column = next((column for column in self.columns if (row, column) in self.places), None)
        elif header == "audited":
            column = next((column for column in self.columns if f" at {column} (" in text), None)
        return self.at(row, column)

    def at(self, row: str, column: str | None) -> Place | None:
        """The place, if it has records."""
        return (row, column) if column is not None and (row, column) in self.places else None


def find_leads(boards: Sequence[Board], columns: Sequence[str], places: Collection[Place]) -> Leads:
    """From the numbers of the ranked boards."""
    known = {board.name: board for board in boards}
    worst = {
        name: _worst(metric_of(known[name], MEASURED[name]), columns, badness)
        for name, badness in BADNESS.items()
        if name in known
    }
    return Leads(columns, places, worst)


def metric_of(board: Board, metric: str) -> Estimates:
    """The board's estimates of a metric by (row, column), read back out of its long format."""
    return estimates_of(board.data, metric)


def estimates_of(data: pd.DataFrame, metric: str) -> Estimates:
    """The same of any part of the long format."""
    data = data[(data["metric"] == metric) & data["column"].notna()]
    return {(str(line["defense"]), str(line["column"])): _estimate(line) for _, line in data.iterrows()}


def _estimate(line: "pd.Series[float]") -> Estimate:
    """A line of the long format; where it is empty nothing was measured, no seed counted, nothing said of a claim."""
    mean, half_width, low, high, seeds, failed = (
        math.nan if pd.isna(line[name]) else float(line[name])
        for name in ("mean", "half_width", "low", "high", "seeds", "failed")
    )
    counts = [0 if math.isnan(count) else int(count) for count in (seeds, failed)]
    within_claim = pd.isna(line["within_claim"]) or bool(line["within_claim"])
    return Estimate(mean, half_width, counts[0], counts[1], within_claim, low, high)


def _worst(found: Estimates, columns: Sequence[str], badness: Callable[[Estimate], float]) -> dict[str, str]:
    """Each row's worst attacked column, the first of several."""
    worst: dict[str, str] = {}
    for row in dict.fromkeys(row for row, _ in found):
        mine = {column: badness(found[row, column]) for column in columns if (row, column) in found and column != CLEAN}
        known = {column: value for column, value in mine.items() if not math.isnan(value)}
        if known:
            worst[row] = max(known, key=lambda column: known[column])
    return worst
