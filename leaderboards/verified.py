"""On the boards: where rows were verified, and which cells rounding changes visibly."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from bench.records.verified import SENSITIVE, Place, Sensitive, State
from leaderboards.board import Board

SIGN = "≈"
LEGEND = (
    f" {SIGN} sensitive to rounding: one seed under two arithmetics is over {100 * SENSITIVE:g} % of accuracy apart."
)
MARKED = ("robustness", "utility")
"""The boards of accuracies, by how their names begin."""


def told(states: Iterable[State]) -> list[str]:
    """A line for each place where records were played anew."""
    return [_line(place, state) for state in states for place in state.known.places]


def sensitive(states: Iterable[State], shown: Collection[str]) -> list[Sensitive]:
    """The cells that rounding changes visibly, of those whose hashes are `shown`."""
    return [one for state in states for one in state.known.sensitive if one.cell in shown]


def note(one: Sensitive) -> str:
    """The flag of such a cell's row."""
    apart = f"{one.apart:.1%} of accuracy apart under two arithmetics (seed {one.seed})"
    return f"{one.column}: sensitive to rounding, {apart}"


def _line(place: Place, state: State) -> str:
    """Where, when, and how many; rows whose records have changed since do not count, and are named."""
    made, rows = place.environment, place.rows
    changed = sorted(name for name, result in rows.items() if result.digest != state.digests[name])
    counts = dict.fromkeys(("replayed", "bit_for_bit", "in_distribution", "cannot_tell", "refuted"), 0)
    for name in rows.keys() - set(changed):
        counts = {key: count + getattr(rows[name], key) for key, count in counts.items()}
    replayed = counts.pop("replayed")
    answers = ", ".join(f"{count} {key.replace('_', ' ')}" for key, count in counts.items() if count)
    arithmetic = made.arithmetic or "native"
    where = f"{place.date:%Y-%m-%d} on {made.cpu}, {arithmetic} arithmetic, torch {made.torch}"
    stale = f"; changed since then: {', '.join(changed)}" if changed else ""
    return f"{replayed} record(s) played anew {where}: {answers or 'none'}{stale}"


def marked(board: Board, some: Sequence[Sensitive]) -> Board:
    """The board with a sign at each cell of accuracies that rounding changes visibly, and what the sign means."""
    if not board.name.startswith(MARKED) or not len(board.text):
        return board
    text = board.text.copy()
    for one in some:
        column = f"{one.column} accuracy" if board.name == "utility" else one.column
        if column in text:
            text[column] = text[column].where(text["defense"] != one.row, text[column] + f" {SIGN}")
    return board if text.equals(board.text) else replace(board, text=text, caption=board.caption + LEGEND)
