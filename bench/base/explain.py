"""Faults that pydantic finds, in one line."""

from pydantic import ValidationError
from pydantic_core import ErrorDetails


def _within(outer: ErrorDetails, inner: ErrorDetails) -> bool:
    depth = len(outer["loc"])
    return len(inner["loc"]) > depth and inner["loc"][:depth] == outer["loc"]


def explain(error: ValidationError) -> str:
    """One line for pydantic's findings: where, what would be right, what was given."""
    lines = []
    for finding in error.errors():
        if finding["type"] == "too_short" and any(_within(finding, other) for other in error.errors()):
            continue  # what is wrong with an entry is told, and that one is missing then follows from it
        steps = (step if isinstance(step, int) or step.isprintable() else repr(step) for step in finding["loc"])
        place = ".".join(map(str, steps)) or "settings"
        message = finding["msg"].removeprefix("Value error, ")
        given = "" if finding["type"] in ("missing", "value_error") else f" (given {finding['input']!r})"
        lines.append(f"{place}: {message}{given}")
    return "; ".join(lines)
