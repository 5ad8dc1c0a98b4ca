"""The board of utility: accuracy without an attack, and what it costs."""

import math
from collections.abc import Collection

import pandas as pd

from leaderboards.board import Board, Number, Standing, make_board, numbers
from leaderboards.chance import Floors, is_worthless
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN
from leaderboards.rankings import by_seed, scored

COSTS = ("round_seconds", "upload_bytes", "peer_bytes")
CAPTION = (
    "Accuracy of the clean run in %, ranked, where a run with a failed seed counts as 0; median time of a round on "
    "one thread with all clients simulated in it (machines differ: compare within a board only); bytes that one "
    "client sends."
)


def utility_board(
    rows: list[str],
    accuracy: Estimates,
    training: pd.DataFrame,
    chance: Floors,
    lacking: Collection[str] = (),
    grain: float = 0.0,
) -> Board:
    """Every row's clean accuracy, time and bytes; nothing to show where no clean run is asked for.

    Nobody has a rank where all failed, or are at `chance`, and no row that is `lacking` seeds that other rows have.
    """
    clean = {row: accuracy.get((row, CLEAN), MISSING) for row in rows}
    costs = {row: _median_costs(training, row) for row in rows}
    worthless = [row for row, value in clean.items() if is_worthless(value, chance[row])]
    scores = {row: value.score for row, value in clean.items()}
    wanted = {row: [CLEAN] for row, score in scores.items() if row not in lacking and not math.isnan(score)}
    seen = by_seed(training, "accuracy", wanted, failed=0.0, spoils=True)
    by_row = {row: scored(values) for row, values in seen.items()}
    standing = Standing.of("clean", scores, worthless, lacking, by_row, grain)
    lines = [
        {
            "defense": row,
            "clean accuracy": clean[row].text(),
            "ms a round": _milliseconds(costs[row]["round_seconds"]),
            "a client uploads": _bytes(costs[row]["upload_bytes"]),
            "to other clients": _bytes(costs[row]["peer_bytes"]),
        }
        for row in (rows if CLEAN in set(training["column"]) else ())
    ]
    result = numbers("clean_accuracy", {(row, CLEAN): value for row, value in clean.items()})
    result += [Number(row, CLEAN, metric, cost) for row in rows for metric, cost in costs[row].items()]
    return make_board("utility", "Utility and cost: no attack", CAPTION, standing.sort(lines), result, standing)


def _median_costs(training: pd.DataFrame, row: str) -> dict[str, float]:
    """Over the clean runs that finished."""
    is_clean = (training["defense"] == row) & (training["column"] == CLEAN) & (training["status"] == "ok")
    known = {metric: training.loc[is_clean, metric].dropna() for metric in COSTS}
    return {metric: float(values.median()) if len(values) else math.nan for metric, values in known.items()}


def _milliseconds(seconds: float) -> str:
    return "–" if math.isnan(seconds) else f"{seconds * 1e3:.1f}"


def _bytes(count: float) -> str:
    if math.isnan(count):
        return "–"
    if count < 1e3:
        return f"{count:.0f} B"
    return f"{count / 1e3:.1f} kB" if count < 1e6 else f"{count / 1e6:.2f} MB"
