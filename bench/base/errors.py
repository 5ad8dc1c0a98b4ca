"""Faults that are the user's to mend, told in one line."""


class BadInputError(Exception):
    """Input that cannot be run; its message names the thing, the value and what would be right. Exit code 2."""


class DivergedError(Exception):
    """A number that the record needs is no longer finite."""


def require(condition: bool, argument: str, value: object, expected: str) -> None:
    """Raise `ValueError` with one sentence that names the argument, its value and the range, unless `condition`."""
    if not condition:
        raise ValueError(f"{argument} is {value!r}, but must be {expected}")


def require_somebody(argument: str, share: float, total: int, whom: str) -> None:
    """Raise `ValueError` where a positive share of `total` rounds to none of them: `whom` says who they are."""
    expected = f"a share that rounds to at least one of the {total} {whom}"
    require(share == 0 or round(share * total) > 0, argument, share, expected)
