"""The first picture: every rule by its worst accuracy and its worst leak, as SVG that is the same bytes everywhere."""

import math
from collections.abc import Iterator
from html import escape

from leaderboards.decision import Measured
from leaderboards.looks import COLOURS, DARK, Look, looks
from leaderboards.naming import PLOT, PLOT_MARGINS, place_names
from leaderboards.overall import BROKEN_SHARE, LEAKING_SHARE

SHARE = 0.2
"""The Byzantine share up to which attacks count."""
HEAD = 54
"""Height of the title and the line below it."""
SIZE = 6.5
"""Half a mark's width."""
STYLE = """text{font-family:system-ui,sans-serif;font-size:13px;fill:#1b1f24}.h{font-size:17px;font-weight:700}
.d{fill:#57606a}.g{stroke:#c9d1d9}.l{stroke:#57606a;stroke-width:.75}.w{fill:#0072b2;opacity:.1}
.n{paint-order:stroke;stroke:#fff;stroke-width:4px;stroke-linejoin:round}.p{fill:#fff}
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.d{fill:#a3adb8}.g{stroke:#39424d}.l{stroke:#a3adb8}.w{fill:#3aa0e0;opacity:.16}
.n{stroke:#0e1217}.p{fill:#0e1217}}"""


def front(board: Measured) -> str:
    """An SVG of all rows that have both numbers, for light and dark paper; what it shows is its title."""
    points = _points(board)
    left, top, right, bottom = PLOT_MARGINS
    width, height = PLOT[0] - left - right, PLOT[1] - top - bottom
    places = {row: (left + width * x, top + height * (1 - y)) for row, (x, y) in points.items()}
    names, look = place_names(places), looks(points)
    colours = "".join(f".c{n}{{fill:{colour}}}" for n, colour in enumerate(COLOURS))
    dark = "".join(f".c{n}{{fill:{colour}}}" for n, colour in enumerate(DARK))
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {PLOT[0]} {PLOT[1] + HEAD}" role="img">',
        f"<title>{escape(title(board))}</title>",
        f"<style>{STYLE}{colours}@media(prefers-color-scheme:dark){{{dark}}}</style>",
        f'<rect class="p" width="{PLOT[0]}" height="{PLOT[1] + HEAD}"/>',
        f'<text class="h" x="12" y="24">{escape(title(board))}</text>',
        f'<text class="d" x="12" y="44">{escape(_below(board))}</text>',
        f'<g transform="translate(0 {HEAD})">',
        *_axes(),
    ]
    for row, (x, y) in places.items():
        name_x, name_y, anchor = names[row]
        end = name_x - 2 if anchor == "start" else name_x + 2
        lines.append(f'<path class="l" d="M{x:.1f} {y:.1f}L{end:.1f} {name_y:.1f}"/>')
    for row, (x, y) in places.items():
        name_x, name_y, anchor = names[row]
        lines.append(mark(look[row], x, y))
        lines.append(
            f'<text class="n" x="{name_x:.1f}" y="{name_y + 4:.1f}" text-anchor="{anchor}">{escape(row)}</text>'
        )
    return "\n".join([*lines, "</g>", "</svg>"]) + "\n"


def title(board: Measured) -> str:
    """What is seen: how many rules are in the corner that everybody wants."""
    points = _points(board)
    held = {row for row, (_, worst) in points.items() if worst >= BROKEN_SHARE * board.clean(row)}
    both = [row for row in held if points[row][0] < LEAKING_SHARE]
    if not both:
        return f"None of {len(points)} rules is both robust and private"
    return f"{len(both)} of {len(points)} rules {'is' if len(both) == 1 else 'are'} both robust and private"


def _below(board: Measured) -> str:
    return f"Suite {board.suite}, {board.federation.clients} clients, of whom {SHARE:.0%} attack. A mark is a rule."


def _points(board: Measured) -> dict[str, tuple[float, float]]:
    """By row: the largest share of images recovered, and the lowest accuracy."""
    attacked, inverted = board.columns("robustness", SHARE), board.columns("privacy")
    results = {}
    for row in board.defenses:
        worst, _ = board.worst("robustness", row, attacked)
        leak, _ = board.worst("privacy", row, inverted)
        if not math.isnan(worst.score) and not math.isnan(leak.mean):
            results[row] = (min(max(leak.mean, 0.0), 1.0), min(max(worst.score, 0.0), 1.0))
    return results


def _axes() -> Iterator[str]:
    left, top, right, bottom = PLOT_MARGINS
    width, height = PLOT[0] - left - right, PLOT[1] - top - bottom
    yield f'<rect class="w" x="{left}" y="{top}" width="{width * LEAKING_SHARE:.1f}" height="{height / 2:.1f}"/>'
    beside = f'x="{left + width * LEAKING_SHARE + 6:.1f}" y="{top + 16}"'
    yield f'<text class="d" {beside}>← wanted: robust and private</text>'
    for percent in (0, 25, 50, 75, 100):
        x, y = left + width * percent / 100, top + height * (1 - percent / 100)
        yield f'<path class="g" d="M{left} {y:.1f}H{left + width}M{x:.1f} {top}V{top + height}"/>'
        yield f'<text class="d" x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{percent}%</text>'
        anchor = "end" if percent == 100 else "middle"
        yield f'<text class="d" x="{x:.1f}" y="{top + height + 16}" text-anchor="{anchor}">{percent}%</text>'
    below = f'x="{left + width / 2}" y="{PLOT[1] - 7}"'
    yield f'<text {below} text-anchor="middle">images that the server recovers, worst attack</text>'
    beside = f'transform="translate(12 {top + height / 2}) rotate(-90)"'
    yield f'<text {beside} text-anchor="middle">accuracy, worst attack</text>'


SHAPES = {
    "o": "M{l} {y}a{s} {s} 0 1 0 {d} 0a{s} {s} 0 1 0 -{d} 0Z",
    "s": "M{l} {t}H{r}V{b}H{l}Z",
    "^": "M{x} {t}L{r} {b}H{l}Z",
    "v": "M{x} {b}L{r} {t}H{l}Z",
    "<": "M{l} {y}L{r} {t}V{b}Z",
    ">": "M{r} {y}L{l} {t}V{b}Z",
    "D": "M{x} {t}L{r} {y}L{x} {b}L{l} {y}Z",
    "P": "M{x} {t}V{b}M{l} {y}H{r}",
    "X": "M{l} {t}L{r} {b}M{r} {t}L{l} {b}",
}
"""The marks as SVG paths; plus and cross are strokes."""


def mark(look: Look, x: float, y: float, size: float = SIZE) -> str:
    """A rule's mark as an SVG path of class `c0` to `c7`."""
    ends = {"l": x - size, "r": x + size, "t": y - size, "b": y + size, "x": x, "y": y, "s": size, "d": 2 * size}
    path = SHAPES[look.marker].format(**{name: f"{value:.1f}" for name, value in ends.items()})
    stroke = f' stroke="{look.hexadecimal}" stroke-width="4"' if look.marker in "PX" else ""
    return f'<path class="c{look.colour} mark" d="{path}"{stroke}/>'
