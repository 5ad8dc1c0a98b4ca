"""The overall board: a rank in each of the others, who is on the Pareto front, and what breaks whom; no mixed score."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from leaderboards.audits import Audits
from leaderboards.board import Board, Number, make_board
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN, by_attack

BROKEN_SHARE = 0.5
"""An attack breaks a defense when it takes this share of the accuracy that the clean run had."""
MANY = 3
LEAKING_SHARE = 0.1
"""A defense leaks where at least this share of the images is recovered."""


@dataclass(frozen=True)
class Axis:
    """A ranked board on the overall one: how its score is written, and whether a high one is good (1) or bad (-1)."""

    form: str
    sign: int = 1


AXES = {
    "robustness": Axis("worst {}"),
    "privacy": Axis("worst {} recovered", sign=-1),
    "utility": Axis("clean {}"),
}
CAPTION = (
    "Pareto: no other defense is at least as good in worst-case accuracy, in worst-case share of images recovered "
    "and in clean accuracy, and better in one; what no attack measured does not count. An attack breaks a defense "
    "when it halves the accuracy of its clean run; a defense leaks where one image in ten or more is recovered; its "
    "clean accuracy is low where it is less than half of the best; a privacy claim is broken where an audit proves "
    "more than is claimed, at a threat model that the claim is meant for."
)


def overall_board(
    rows: list[str],
    columns: list[str],
    ranked: Iterable[Board],
    accuracy: Estimates,
    recovered: Estimates,
    audits: Audits,
) -> Board:
    """The ranks of the `ranked` boards that have any; the Pareto front first, then in the order of the first board.

    A board with scores of some rows alone, because nothing but an evaluation of theirs is on it, orders nothing.
    """
    boards = {board.name: board for board in ranked if any(map(math.isfinite, board.standing.scores.values()))}
    shared = {name: board for name, board in boards.items() if set(rows) <= set(board.standing.scores)}
    front = pareto_front(_points(rows, shared)) if len(shared) > 1 else set()
    clean = (value.mean for (_, column), value in accuracy.items() if column == CLEAN)
    best_clean = max(filter(math.isfinite, clean), default=math.nan)
    broken = {
        row: _broken_by(row, columns, accuracy, best_clean) + _leaks(row, columns, recovered) + _refuted(row, audits)
        for row in rows
    }
    lines = [
        {
            "defense": row,
            **{name: _place(board, row) for name, board in boards.items()},
            **({"Pareto": "yes" if row in front else ""} if front else {}),
            "what breaks it": "; ".join(broken[row]) or "nothing here",
        }
        for row in rows
    ]
    first = next(iter(shared.values())).standing.ranks if shared else {}
    lines.sort(key=lambda line: (line["defense"] not in front, first.get(line["defense"], 0)))
    numbers = [Number(row, None, "pareto", float(row in front)) for row in rows if front]
    return make_board("overall", "Overall: a rank in each, no mixed score", CAPTION, lines, numbers)


def pareto_front(points: Mapping[str, tuple[float, ...]]) -> set[str]:
    """The names whose point no other one dominates, higher being better; points with a nan are not on it."""
    whole = {name: point for name, point in points.items() if not any(map(math.isnan, point))}
    return {name for name, point in whole.items() if not any(_dominates(other, point) for other in whole.values())}


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))


def _points(rows: list[str], boards: Mapping[str, Board]) -> dict[str, tuple[float, ...]]:
    """Each row's scores, higher being better."""
    return {
        row: tuple(round(AXES[name].sign * board.standing.scores[row], 6) for name, board in boards.items())
        for row in rows
    }


def _place(board: Board, row: str) -> str:
    """`2 (worst 54.1%)`."""
    score = board.standing.scores.get(row, math.nan)
    if math.isnan(score):
        return "–"
    return f"{board.standing.ranks[row]} ({AXES[board.name].form.format(board.standing.texts[row])})"


def _broken_by(row: str, columns: list[str], accuracy: Estimates, best_clean: float) -> list[str]:
    """What is wrong with the row's clean run, and the attacks that break it, where there is accuracy to break."""
    clean = accuracy.get((row, CLEAN), MISSING)
    found = ["clean run failed"] if clean.failed else []
    if clean.mean < BROKEN_SHARE * best_clean:
        return [*found, "low clean accuracy"]
    attacked = {column: accuracy.get((row, column), MISSING) for column in columns if column != CLEAN}
    broken = [column for column, value in attacked.items() if value.failed or value.mean < BROKEN_SHARE * clean.mean]
    return found + _in_short(broken, list(attacked))


def _leaks(row: str, columns: list[str], recovered: Estimates) -> list[str]:
    """One line with the columns in which the row leaks, or none."""
    tried = [column for column in columns if (row, column) in recovered]
    leaking = [column for column in tried if recovered[row, column].mean >= LEAKING_SHARE]
    if len(leaking) > 1 and leaking == tried:
        return ["leaks to every privacy attack"]
    return [f"leaks to {', '.join(_in_short(leaking, tried))}"] if leaking else []


def _in_short(found: list[str], tried: list[str]) -> list[str]:
    """The columns, but one name for an attack of which all columns are there, and there are many."""
    short: list[str] = []
    for attack, columns in by_attack(tried).items():
        mine = [column for column in columns if column in found]
        short += [f"every {attack}"] if mine == columns and len(mine) >= MANY else mine
    return short


def _refuted(row: str, audits: Audits) -> list[str]:
    """The audits that break the row's privacy claim where it is meant to hold."""
    columns = [column for (name, column), audit in audits.items() if name == row and audit.breaks]
    return [f"privacy claim broken by {', '.join(columns)}"] if columns else []
