"""The board of robustness: accuracy under every attack, ranked by the worst."""

import math
from collections.abc import Collection, Iterable

import pandas as pd

from bench.suite import Cell
from leaderboards.board import Board, Standing, numbers
from leaderboards.chance import Floors
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN
from leaderboards.rankings import by_seed, scored
from leaderboards.wide import Matrix

CAPTION = (
    "Test accuracy of the last round's model in %, mean and 95 % t interval over the seeds; b is the Byzantine "
    "share of the clients. Ranked by the worst attacked column, where a column with a failed seed counts as 0. † "
    "beyond what the defense itself claims to stand, of all clients or of a round's sample."
)


def robustness_boards(
    rows: list[str],
    columns: list[str],
    accuracy: Estimates,
    evaluations: frozenset[str],
    chance: Floors,
    attackers: str,
    training: pd.DataFrame,
    lacking: Collection[str] = (),
    grain: float = 0.0,
) -> list[Board]:
    """Every row's accuracy in every column. Without an attacked column there is nothing to show.

    `evaluations` are columns that single rows have on top of the suite's: they count there, and are missed nowhere.
    Nobody has a rank where all failed, or are at `chance`, and no row that is `lacking` records that other rows have;
    `attackers` says how many clients are Byzantine. `training` has the records, whose accuracies are counted in steps
    of `grain`.
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
    worthless = [row for row, score in scores.items() if score <= chance[row]]
    matrix = Matrix("robustness", title, f"{CAPTION} {attackers}".strip(), columns, cell, worst)
    wanted = {
        row: some for row, some in mine.items() if row not in lacking and not math.isnan(scores.get(row, math.nan))
    }
    seen = by_seed(training, "accuracy", wanted, failed=0.0, spoils=True)
    by_row = {row: scored(values) for row, values in seen.items()}
    standing = Standing.of("worst_accuracy", scores, worthless, lacking, by_row, grain)
    return matrix.boards(standing, numbers("accuracy", accuracy))


def counts(cells: Iterable[Cell]) -> str:
    """`b=0.2 is 20 of 100 clients.`: each b with its count, and those of the same count together."""
    results: dict[float, set[tuple[int, int]]] = {}
    for cell in cells:
        if cell.byzantine:
            results.setdefault(cell.byzantine, set()).add((cell.num_byzantine, cell.federation.clients))
    alike: dict[str, list[str]] = {}
    for share, heads in sorted(results.items()):
        told = ", or by row ".join(f"{count} of {clients}" for count, clients in sorted(heads))
        alike.setdefault(told, []).append(f"b={share:g}")
    lines = [
        f"{' and '.join(some)} {'is' if len(some) == 1 else 'are each'} {told} clients" for told, some in alike.items()
    ]
    return f"{'; '.join(lines)}." if lines else ""


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
