"""Faults that pydantic finds, in one line."""

from pydantic import ValidationError


def explain(error: ValidationError) -> str:
    """One line for pydantic's findings: where, what would be right, what was given."""
    lines = []
    for finding in error.errors():
        steps = (step if isinstance(step, int) or step.isprintable() else repr(step) for step in finding["loc"])
        place = ".".join(map(str, steps)) or "settings"
        message = finding["msg"].removeprefix("Value error, ")
        given = "" if finding["type"] in ("missing", "value_error") else f" (given {finding['input']!r})"
        lines.append(f"{place}: {message}{given}")
    return "; ".join(lines)
