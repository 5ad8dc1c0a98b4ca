"""The option with an optional value: `--compare`, `--compare BASE` and `--compare=BASE`."""

from collections.abc import Sequence
from typing import Any

from typer.core import TyperCommand

NEWEST = "newest"
"""What a bare `--compare` stands for."""


class BareCompare(TyperCommand):
    """A command whose `--compare` may stand alone; typer itself knows options with a value or without, not both."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, with_value(args, "--compare", NEWEST))


def with_value(arguments: Sequence[str], option: str, value: str) -> list[str]:
    """The arguments with `value` after every `option` that no value of its own follows."""
    filled = []
    for position, argument in enumerate(arguments):
        filled.append(argument)
        following = arguments[position + 1] if position + 1 < len(arguments) else "-"
        if argument == option and following.startswith("-"):
            filled.append(value)
    return filled
