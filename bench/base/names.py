"""Names that users type: what is known, and what an unknown one may have meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*( [A-Za-z0-9_.+-]+)*")
MOST_TOLD = 24
"""Names that one line holds."""

LONGEST = 60
"""Characters of a name, which becomes a row or the beginning of a column of every board, and a folder."""


def refusal(kind: str, name: str) -> str | None:
    """Why a defense or an attack cannot be called this; None where it can. A column's attack ends at a space."""
    spaced = kind == "attack" and " " in name
    if NAME.fullmatch(name) and len(name) <= LONGEST and not spaced:
        return None
    spaces = "" if kind == "attack" else ", single spaces"
    wanted = f"letters, digits{spaces} and the signs _ . + -, a letter or digit first, at most {LONGEST}"
    return f"{kind} name {name!r} will not do: take {wanted}"


def counted(count: int, noun: str) -> str:
    """`1 record`, `2 records`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line: no such `kind`, the nearest names, or all of them where none is near and they are not too many."""
    names = sorted(known)
    if not names:
        return f"no {kind} named {name!r}: there is none at all"
    near = get_close_matches(name, names, n=3)
    more = f" and {len(names) - MOST_TOLD} more" if len(names) > MOST_TOLD else ""
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names[:MOST_TOLD])}{more}"
    return f"no {kind} named {name!r}: {hint}"


def plain(value: float) -> str:
    """`0.1`, `10`, and `1e6` for a million."""
    return f"{value:g}".replace("e+0", "e")
