"""The board of robustness: accuracy under every attack, ranked by the worst."""

import math
from collections.abc import Collection, Iterable

from leaderboards.board import Board, Standing, numbers
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN
from leaderboards.wide import Matrix

CAPTION = (
    "Test accuracy of the last round's model in %, mean and 95 % t interval over the seeds; b is the Byzantine "
    "share of the clients. Ranked by the worst attacked column, where a column with a failed seed counts as 0. † "
    "beyond what the defense itself claims to stand."
)


def robustness_boards(
    rows: list[str], columns: list[str], accuracy: Estimates, evaluations: frozenset[str] = frozenset()
) -> list[Board]:
    """Every row's accuracy in every column. Without an attacked column there is nothing to show.

    `evaluations` are columns that single rows have on top of the suite's: they count there, and are missed nowhere.
    """
    attacked = [column for column in columns if column != CLEAN]

    def cell(row: str, column: str) -> str:
        return accuracy.get((row, column), MISSING).text()

    def worst(row: str, some: list[str]) -> tuple[str, str]:
        if some == [CLEAN]:
            return cell(row, CLEAN), ""
        score, where = worst_case(row, asked(row, some, accuracy, evaluations), accuracy)
        return "–" if math.isnan(score) else f"{score:.1%}", where

    title = "Robustness: accuracy under attack"
    mine = {row: asked(row, attacked, accuracy, evaluations) for row in rows}
    scores = {row: worst_case(row, some, accuracy)[0] for row, some in mine.items() if some}
    matrix = Matrix("robustness", title, CAPTION, columns, cell, worst)
    return matrix.boards(Standing.of("worst_accuracy", scores), numbers("accuracy", accuracy))


def asked(row: str, columns: Iterable[str], accuracy: Estimates, evaluations: Collection[str]) -> list[str]:
    """The attacked columns that should have records of the row: all, but of `evaluations` those that do."""
    attacked = [column for column in columns if column != CLEAN]
    return [column for column in attacked if column not in evaluations or (row, column) in accuracy]


def worst_case(row: str, attacked: list[str], accuracy: Estimates) -> tuple[float, str]:
    """The lowest score and its column; nan where a column is missing, which no other column makes up for."""
    scores = {column: accuracy.get((row, column), MISSING).score for column in attacked}
    if not scores or any(map(math.isnan, scores.values())):
        return math.nan, ""
    where = min(scores, key=lambda column: scores[column])
    return scores[where], where
