"""Names that users type: what is known, and what an unknown one may have meant."""

from collections.abc import Iterable
from difflib import get_close_matches


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """One line: no such `kind`, the nearest names, or all of them where none is near."""
    names = sorted(known)
    if not names:
        return f"no {kind} named {name!r}: there is none at all"
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known are {', '.join(names)}"
    return f"no {kind} named {name!r}: {hint}"
