"""What the boards of leaks share: a row stands by the column in which most is learnt of it, and lower is better."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence

import pandas as pd

from leaderboards.board import Standing, ranks
from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.rankings import by_seed, ranking, scored


def highest(found: Estimates, row: str, columns: Sequence[str]) -> tuple[Estimate, str]:
    """The estimate with the highest mean of a row, and its column unless all are alike; none where one is missing."""
    values = {column: found.get((row, column), MISSING) for column in columns}
    if not values or any(math.isnan(value.mean) for value in values.values()):
        return MISSING, ""
    where = max(values, key=lambda column: values[column].mean)
    return values[where], where if len({value.mean for value in values.values()}) > 1 else ""


def worst_of(asked: Mapping[str, list[str]], found: Estimates) -> dict[str, Estimate]:
    """The highest estimate of each row that is asked about in any column."""
    return {row: highest(found, row, columns)[0] for row, columns in asked.items() if columns}


def standing(
    metric: str,
    frame: pd.DataFrame,
    asked: Mapping[str, list[str]],
    worst: Mapping[str, Estimate],
    lacking: Collection[str],
    text: Callable[[Estimate], str],
    grain: float = 0.0,
    then: Mapping[str, tuple[float, ...]] | None = None,
) -> Standing:
    """By the worst estimate of a metric, from its records in `frame`; a seed that failed counts as 1.

    `asked` has each row's columns; `then` decides between rows whose worst is the same, the highest first.
    """
    points = ranks({row: (-value.mean, *(then or {}).get(row, ())) for row, value in worst.items()}, lacking=lacking)
    wanted = {row: asked[row] for row, value in worst.items() if row not in lacking and not math.isnan(value.mean)}
    seen = by_seed(frame, metric, wanted, failed=1.0, spoils=False)
    by_row = {row: scored(-values) for row, values in seen.items()}
    scores = {row: value.mean for row, value in worst.items()}
    texts = {row: text(value) for row, value in worst.items()}
    return Standing.settled(f"worst_{metric}", scores, texts, points, ranking(points, by_row, grain))


def grain_of(frame: pd.DataFrame, counted: str) -> float:
    """The step in which a share of what a record counts is known; 0 where there is none."""
    least = frame[counted].min() if len(frame) else math.nan
    return 1 / least if least >= 1 else 0.0
