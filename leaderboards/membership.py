"""The board of membership inference: members found at few false alarms, ranked by the worst column."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from bench.plays.findings import build_attack
from bench.records import Record
from bench.suite.cell import KindName
from bench.threat import MembershipAttack
from leaderboards.board import Board, numbers
from leaderboards.estimates import MISSING, Estimate, Estimates, estimates, shares
from leaderboards.leaks import grain_of, highest, standing, worst_of
from leaderboards.wide import Matrix

RATE, LOW, AREA = "tpr_at_1", "tpr_at_0.1", "membership_auc"
SEEN = {
    "the models alone": "whoever gets the models",
    "uploads": "the server",
    "uploads, colluders": "the server and its colluders",
}
"""What an attacker sees, and who that is."""
MOST = 4
"""Columns of one table: its cells are long."""
CAPTION = (
    "Share of the members found at a false positive rate of at most 1 %, with its 95 % interval · the same at 0.1 % · "
    "AUC, mean and 95 % t interval over the seeds. Half of the candidates are images that a target holds, half are of "
    "the same classes and held by nobody; whoever guesses finds 1 %, and has an AUC of 0.5. The interval of a share is "
    "Wilson's at the effective number of members, because those of a seed belong together (design effect, with the "
    "degrees of freedom of the seeds). {resolution} Ranked by the worst column's share at 1 %: lower is better. A "
    "column whose control, fedavg, is not above a guess says nothing of the others. Composed is what the row claims of "
    "all that one client releases in the run, if anything, be it against some of these attackers alone: see the claims."
)


def membership_boards(
    rows: Sequence[str],
    columns: list[str],
    inferred: pd.DataFrame,
    records: Sequence[Record],
    evaluations: frozenset[str] = frozenset(),
    lacking: Collection[str] = (),
) -> list[Board]:
    """Every row's members found, in every column; nothing to show where nobody asked.

    `evaluations` are columns that single rows have on top of the suite's. A row that is `lacking` records that other
    rows have has no rank.
    """
    results = {RATE: rates(inferred, RATE), LOW: rates(inferred, LOW), AREA: estimates(inferred, AREA)}
    claims = composed_claims(records, "membership")

    def known(row: str, some: Sequence[str]) -> list[str]:
        return [column for column in some if column not in evaluations or (row, column) in results[RATE]]

    def cell(row: str, column: str) -> str:
        share, low, area = (results[metric].get((row, column), MISSING) for metric in (RATE, LOW, AREA))
        return share.with_failures(f"{share.share()} · {low.mean:.1%} · {area.text(scale=1.0, digits=2)}")

    def worst(row: str, some: list[str]) -> tuple[str, str]:
        share, where = highest(results[RATE], row, known(row, some))
        areas = [results[AREA].get((row, column), MISSING).mean for column in ([where] if where else some)]
        text = f", AUC {max(areas):.2f}" if share.seeds else ""
        return share.share() + text, where

    title, caption = "Membership: who was in it", CAPTION.format(resolution=_resolution(inferred))
    matrix = Matrix("membership", title, caption, columns, cell, worst, most=MOST)
    asked = {row: known(row, columns) for row in rows} if columns else {}
    grain = grain_of(inferred, "members")
    stands = standing(RATE, inferred, asked, worst_of(asked, results[RATE]), lacking, Estimate.share, grain)
    data = [number for metric, values in results.items() for number in numbers(metric, values)]
    boards = matrix.boards(stands, data)
    return [with_claims(boards[0], claims), *boards[1:]]


def rates(inferred: pd.DataFrame, metric: str) -> Estimates:
    """A share of members, over the members of all seeds."""
    return shares(inferred.assign(images=inferred.get("members")), metric)


def _resolution(inferred: pd.DataFrame) -> str:
    """What one false positive is of a seed's images that nobody holds."""
    least = sorted(inferred["least_fpr"].dropna().unique()) if "least_fpr" in inferred else []
    if not least:
        return ""
    ends = f"{least[0]:.2%}" if len(least) == 1 else f"{least[0]:.2%} to {least[-1]:.2%}"
    return f"One false positive is {ends} in a seed: a rate below that is no false positive at all."


def composed_claims(records: Sequence[Record], kind: KindName) -> dict[str, str]:
    """By row, what it claims of a whole run in cells of a kind: `ε = 12`."""
    results = {}
    for record in records:
        if record.cell.kind == kind and (claim := record.privacy.composed) is not None:
            results[record.cell.label] = "void" if claim.epsilon is None else f"ε = {claim.epsilon:.3g} {claim.unit}"
    return results


def with_claims(board: Board, claims: dict[str, str]) -> Board:
    """The table with a column of claims behind the row's name."""
    if not len(board.text):
        return board
    text = board.text.copy()
    at = list(text.columns).index("defense") + 1
    text.insert(at, "composed", [claims.get(row, "–") for row in text["defense"]])
    return Board(board.name, board.title, board.caption, text, board.data, board.standing)


@dataclass(frozen=True)
class Roc:
    """A mean curve over the seeds: false and true positive rates, and the area below it."""

    column: str
    false: tuple[float, ...]
    true: tuple[float, ...]
    area: float


def has_curve(record: Record) -> bool:
    """Of an attacker who only looks; coalitions stand on a board of their own."""
    return bool(record.roc) and not record.cell.is_coalition


def panels(records: Sequence[Record]) -> dict[str, dict[str, Roc]]:
    """By what is seen, then by row: the curve of the column with the largest mean area."""
    groups: dict[tuple[str, str, str], list[Record]] = {}
    for record in records:
        if has_curve(record) and record.status == "ok":
            groups.setdefault((_seen(record), record.cell.label, record.cell.column), []).append(record)
    results: dict[str, dict[str, Roc]] = {}
    for (seen, row, column), mine in groups.items():
        curve, best = _mean(column, mine), results.setdefault(seen, {}).get(row)
        if best is None or curve.area > best.area:
            results[seen][row] = curve
    return {seen: results[seen] for seen in SEEN if seen in results}


def _seen(record: Record) -> str:
    assert record.cell.attack is not None
    attack = build_attack(record.cell.attack)
    assert isinstance(attack, MembershipAttack)
    if attack.sees() == "broadcasts":
        return "the models alone"
    return "uploads, colluders" if record.cell.rho else "uploads"


def _mean(column: str, records: Sequence[Record]) -> Roc:
    """At each false positive rate the mean true one over the seeds, which all have the same numbers of images."""
    false, true = (tuple(point[axis] for point in records[0].roc) for axis in (0, 1))
    alike = [record for record in records if tuple(point[0] for point in record.roc) == false]
    if len(alike) > 1:
        true = tuple(np.mean([[point[1] for point in record.roc] for record in alike], axis=0).tolist())
    area = float(np.mean([record.metrics["membership_auc"] for record in records]))
    return Roc(column, false, true, area)
