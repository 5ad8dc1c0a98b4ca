"""Names beside the points of a picture: where each stands, so that none lies over another or over a point."""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial

PLOT = (640, 420)
"""Width and height of the paper, in pixels."""
PLOT_MARGINS = (52, 16, 16, 44)
"""Left, top, right and bottom."""
LETTER, LINE, GAP, DOT = 7.6, 15, 12, 7
"""Width of a letter of a bold name, height of its line, its distance from its point, and half a point's width."""
FURTHER = (0, 20, 130, 260)
"""How much further from its point a name may stand, where many points are in one place."""
STEPS = 24
"""Points of a line from a name to its point that are held against other names."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom."""


def place_names(
    points: Mapping[str, tuple[float, float]], others: Iterable[tuple[float, float]] = ()
) -> dict[str, tuple[float, float, str]]:
    """A place for each name: the nearest beside its point, where no name, line or point is in its way."""
    taken: list[Box] = [(x - DOT, y - DOT, x + DOT, y + DOT) for x, y in (*points.values(), *others)]
    names: list[Box] = []
    results: dict[str, tuple[float, float, str]] = {}
    for row, (x, y) in sorted(points.items(), key=lambda item: (item[1][1], item[0])):
        best = min(_candidates(row, x, y), key=partial(_cost, row, x, y, taken, names))
        results[row] = best
        names.append(_box(row, *best))
        taken += [names[-1], *_line(x, y, *best[:2])]
    return results


def _cost(
    row: str, x: float, y: float, taken: list[Box], names: list[Box], place: tuple[float, float, str]
) -> tuple[bool, bool, float]:
    """What a place is judged by: something under the name, a name under its line, and how far away it is."""
    far = abs(place[1] - y) + abs(place[0] - x)
    return _overlaps(_box(row, *place), taken), any(_overlaps(dot, names) for dot in _line(x, y, *place[:2])), far


def _line(x: float, y: float, to_x: float, to_y: float) -> list[Box]:
    """The line from a point to its name, as dots."""
    steps = [step / STEPS for step in range(1, STEPS)]
    dots = [(x + step * (to_x - x), y + step * (to_y - y)) for step in steps]
    return [(across, down, across, down) for across, down in dots]


def _candidates(row: str, x: float, y: float) -> Iterator[tuple[float, float, str]]:
    """Places beside a point within the plot: on both sides, at its height and in lines above and below."""
    inwards = ("start", "end") if x < PLOT[0] / 2 else ("end", "start")
    heights = [y + sign * LINE * step for step in range(PLOT[1] // LINE) for sign in (1, -1)]
    for side in inwards:
        for further, height in itertools.product(FURTHER, heights):
            place = (x + (GAP + further) * (1 if side == "start" else -1), height, side)
            left, top, right, bottom = _box(row, *place)
            if (left >= PLOT_MARGINS[0] and right <= PLOT[0] and top >= 0 and bottom <= PLOT[1] - PLOT_MARGINS[3]) or (
                side == inwards[0] and height == y and not further
            ):
                yield place


def _box(row: str, x: float, y: float, side: str) -> Box:
    """What a name covers."""
    left = x if side == "start" else x - LETTER * len(row)
    return left, y - LINE / 2, left + LETTER * len(row), y + LINE / 2


def _overlaps(box: Box, taken: Iterable[Box]) -> bool:
    return any(box[0] < other[2] and other[0] < box[2] and box[1] < other[3] and other[1] < box[3] for other in taken)
