"""The board of robustness: accuracy under every attack, ranked by the worst."""

import math

from leaderboards.board import Board, Standing, make_board, numbers
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN

CAPTION = (
    "Test accuracy of the last round's model in %, mean and 95 % t interval over the seeds; b is the Byzantine "
    "share of the clients. Ranked by the worst attacked column, where a column with a failed seed counts as 0. † "
    "beyond what the defense itself claims to stand."
)


def robustness_board(rows: list[str], columns: list[str], accuracy: Estimates) -> Board:
    """Every row's accuracy in every column. Without an attacked column there is nothing to show."""
    attacked = [column for column in columns if column != CLEAN]
    worst = {row: _worst_case(row, attacked, accuracy) for row in rows} if attacked else {}
    lines = [
        {
            "defense": row,
            **{column: accuracy.get((row, column), MISSING).text() for column in columns},
            "worst case": "–" if math.isnan(score) else f"{score:.1%} ({where})",
        }
        for row, (score, where) in worst.items()
    ]
    standing = Standing.of("worst_accuracy", {row: score for row, (score, _) in worst.items()})
    title = "Robustness: accuracy under attack"
    return make_board("robustness", title, CAPTION, standing.sort(lines), numbers("accuracy", accuracy), standing)


def _worst_case(row: str, attacked: list[str], accuracy: Estimates) -> tuple[float, str]:
    """The lowest score and its column; nan where a column is missing, which no other column makes up for."""
    scores = {column: accuracy.get((row, column), MISSING).score for column in attacked}
    if any(map(math.isnan, scores.values())):
        return math.nan, ""
    where = min(scores, key=lambda column: scores[column])
    return scores[where], where
