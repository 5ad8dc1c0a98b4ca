"""On the boards: where rows were verified, and which cells rounding changes visibly."""

from dataclasses import replace
from pathlib import Path

from bench.base.errors import BadInputError
from bench.records import verified
from bench.records.verified import SENSITIVE, Place, Sensitive
from leaderboards.board import Board, Leaderboard

SIGN = "≈"
LEGEND = (
    f" {SIGN} sensitive to rounding: one seed under two arithmetics is over {100 * SENSITIVE:g} % of accuracy apart."
)
MARKED = ("robustness", "utility")
"""The boards of accuracies, by how their names begin."""


def add_verifications(leaderboard: Leaderboard, folder: Path) -> None:
    """Add what `verified.json` in a suite's folder says; where that is damaged, it is left out, told."""
    try:
        known = verified.read(folder)
    except BadInputError as error:
        leaderboard.left_out.append(str(error))
        return
    leaderboard.verified += [_line(place, folder) for place in known.places]
    shown = {record.cell.hash for record in leaderboard.evidence}
    marked = [one for one in known.sensitive if one.cell in shown]
    for one in marked:
        note = f"{one.column}: sensitive to rounding, {one.apart:.1%} of accuracy apart under two arithmetics"
        leaderboard.flags.setdefault(one.row, []).append(f"{note} (seed {one.seed})")
    leaderboard.boards = [_marked(board, marked) for board in leaderboard.boards]


def _line(place: Place, folder: Path) -> str:
    """Where, when, and how many; rows whose records have changed since do not count, and are named."""
    made, rows = place.environment, place.rows
    changed = sorted(name for name, found in rows.items() if found.digest != verified.digest_of(folder / name))
    counts = dict.fromkeys(("replayed", "bit_for_bit", "in_distribution", "cannot_tell", "refuted"), 0)
    for name in rows.keys() - set(changed):
        counts = {key: count + getattr(rows[name], key) for key, count in counts.items()}
    told = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items() if key != "replayed" and count)
    arithmetic = made.arithmetic or "native"
    where = f"{place.date:%Y-%m-%d} on {made.cpu}, {arithmetic} arithmetic, torch {made.torch}"
    stale = f"; changed since then: {', '.join(changed)}" if changed else ""
    return f"{counts['replayed']} record(s) played anew {where}: {told or 'none'}{stale}"


def _marked(board: Board, marked: list[Sensitive]) -> Board:
    """The board with a sign at each cell of accuracies that rounding changes visibly, and what the sign means."""
    if not board.name.startswith(MARKED) or not len(board.text):
        return board
    text = board.text.copy()
    for one in marked:
        column = f"{one.column} accuracy" if board.name == "utility" else one.column
        if column in text:
            text[column] = text[column].where(text["defense"] != one.row, text[column] + f" {SIGN}")
    return board if text.equals(board.text) else replace(board, text=text, caption=board.caption + LEGEND)
