"""Names that users type: what is known, and what an unknown one may have meant."""

import re
from collections.abc import Iterable
from difflib import get_close_matches

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*( [A-Za-z0-9_.+-]+)*")
LONGEST = 60
WANTED = f"take letters, digits, single spaces and the signs _ . + -, a letter or digit first, at most {LONGEST}"
"""What the name of a defense or an attack may be: it becomes a row or a column of every board, and a folder."""


def is_name(name: str) -> bool:
    """Whether a defense or an attack may be called this."""
    return len(name) <= LONGEST and NAME.fullmatch(name) is not None


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line: no such `kind`, the nearest names, or all of them where none is near."""
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
    return f"no {kind} named {name!r}: {hint}"
