"""How a defense looks: one colour and one shape, the same in every picture, on every page and in every suite.

The colours are Okabe and Ito's (2008), which colour-blind readers can tell apart. Eight colours do not tell forty rows
apart, so rules of one kind share a colour and differ in shape; a name beside the mark says which it is.
"""

import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#888888")
"""Blue, vermilion, green, purple, orange, sky, black, and grey for their yellow, which is faint on white."""
DARK = ("#58A6E8", "#F08040", "#2FBF93", "#E295C0", "#E6B340", "#9CD8F7", "#E6EDF3", "#98A2AD")
"""The same colours on dark paper."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
"""Shapes, as matplotlib names them."""
DASHES = 5
"""How many dashes the pages have."""

KINDS: tuple[tuple[str, ...], ...] = (
    ("krum", "multi_krum", "bulyan", "mda", "monna", "smea", "dnc"),  # chooses messages by their distances
    ("dpbfl", "ldpbfl", "rsa", "sign_majority"),  # sends signs
    ("median", "trimmed_mean", "meamed", "geometric_median"),  # a middle of the messages
    ("niss", "noise_exchange", "secure_aggregation"),  # shares of clients hide the messages
    ("dp_fedavg", "central_dp_fedavg", "flame", "crfl", "weak_dp", "robust_dp_fedavg"),  # adds noise
    ("centered_clipping", "norm_clipping", "arc", "cge"),  # bounds the messages' lengths
    ("fedavg", "nnm", "bucketing", "foundation_fl", "demoa"),  # the mean, and what goes before a rule
    # weighs each client
    ("fltrust", "caf", "foolsgold", "fldetector", "rlr", "signguard", "clipped_clustering", "lasa", "deepsight"),
)
"""Defenses by kind, a colour each; the place in a kind is the shape."""
TABLE: Mapping[str, tuple[int, int]] = {
    name: (colour, shape) for colour, kind in enumerate(KINDS) for shape, name in enumerate(kind)
}


@dataclass(frozen=True)
class Look:
    """The colour by its number in `COLOURS`, the marker by its number in `MARKERS`, the dashes of a line.

    `tint` tells variants of one rule apart: from -1, half way to black, to 1, half way to white.
    """

    colour: int
    shape: int
    tint: float = 0.0

    @property
    def dash(self) -> int:
        return self.shape % DASHES

    @property
    def hexadecimal(self) -> str:
        towards, share = (255 if self.tint > 0 else 0), abs(self.tint) / 2
        parts = [int(COLOURS[self.colour][at : at + 2], 16) for at in (1, 3, 5)]
        return "#" + "".join(f"{round(part + share * (towards - part)):02X}" for part in parts)

    @property
    def marker(self) -> str:
        return MARKERS[self.shape % len(MARKERS)]


def looks(rows: Iterable[str]) -> dict[str, Look]:
    """That of each row; where two would look the same, the one that is not a shipped rule alone gets another shape."""
    rows = list(rows)
    results: dict[str, Look] = {}
    for row in sorted(rows, key=lambda row: row not in TABLE):
        look, taken = look_of(row), set(results.values())
        shapes = (Look(look.colour, (look.shape + step) % len(MARKERS)) for step in range(len(MARKERS)))
        results[row] = next((other for other in shapes if other not in taken), look)
    variants = [row for row in rows if row not in TABLE]
    for row in variants:
        alike = [other for other in variants if results[other].colour == results[row].colour]
        if len(alike) > 1:
            results[row] = replace(results[row], tint=2 * alike.index(row) / (len(alike) - 1) - 1)
    return {row: results[row] for row in rows}


def look_of(row: str) -> Look:
    """A shipped rule's stands in the table; `nnm + krum` and `niss (tau_squared=1)` have the rule's colour."""
    rule = row.split(" (")[0].split(" + ")[-1]
    name = next((name for name in (rule, rule.split(" ")[0]) if name in TABLE), None)
    if name == row:
        return Look(*TABLE[name])
    drawn = zlib.crc32(row.encode())
    return Look(TABLE[name][0] if name else drawn % len(COLOURS), drawn // len(COLOURS) % len(MARKERS))
