"""The board of property inference: how much of what a blind guess misses of clients' labels is told, worst first."""

from collections.abc import Collection, Sequence

import pandas as pd

from bench.records import Record
from leaderboards.board import Board, numbers
from leaderboards.estimates import MISSING, Estimate, estimates
from leaderboards.leaks import highest, standing, worst_of
from leaderboards.membership import composed_claims, with_claims
from leaderboards.wide import Matrix

EXPLAINED, DISTANCE, BLIND = "explained", "label_tv", "blind_tv"
CAPTION = (
    "Explained share in %, mean and 95 % t interval over the seeds · total variation distance of the shares of labels "
    "that the attacker names from the true ones, mean over the targets, of the same for a blind guess. The blind guess "
    "is the population's histogram, which is public; the explained share is 1 - distance / blind distance: 100 where "
    "all is told, 0 where nothing is, below 0 where the attack is worse than no attack. Ranked by the worst column: "
    "lower is better. A column whose control, fedavg, is near 0 says nothing of the others. Composed is what the row "
    "claims of all that one client releases in the run, if anything, be it against some of these attackers alone."
)


def property_boards(
    rows: Sequence[str],
    columns: list[str],
    told: pd.DataFrame,
    records: Sequence[Record],
    evaluations: frozenset[str] = frozenset(),
    lacking: Collection[str] = (),
) -> list[Board]:
    """What is told of every row's clients, in every column; nothing to show where nobody asked.

    `evaluations` are columns that single rows have on top of the suite's. A row that is `lacking` records that other
    rows have has no rank.
    """
    results = {metric: estimates(told, metric) for metric in (EXPLAINED, DISTANCE, BLIND)}

    def known(row: str, some: Sequence[str]) -> list[str]:
        return [column for column in some if column not in evaluations or (row, column) in results[EXPLAINED]]

    def cell(row: str, column: str) -> str:
        share, distance, blind = (
            results[metric].get((row, column), MISSING) for metric in (EXPLAINED, DISTANCE, BLIND)
        )
        text = _text(share)
        return f"{text} · {distance.mean:.2f} of {blind.mean:.2f}" if share.seeds else text

    def worst(row: str, some: list[str]) -> tuple[str, str]:
        share, where = highest(results[EXPLAINED], row, known(row, some))
        return _text(share), where

    matrix = Matrix("property", "Label shares: what a client holds", CAPTION, columns, cell, worst)
    asked = {row: known(row, columns) for row in rows} if columns else {}
    stands = standing(EXPLAINED, told, asked, worst_of(asked, results[EXPLAINED]), lacking, _text)
    data = [number for metric, values in results.items() for number in numbers(metric, values)]
    first, *others = matrix.boards(stands, data)
    return [with_claims(first, composed_claims(records, "property")), *others]


def _text(share: Estimate) -> str:
    return share.text(digits=0)
