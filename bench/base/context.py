"""What holds for a stretch of the program, and for whatever is called in it, without being handed on."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

T = TypeVar("T")


@contextmanager
def holding(variable: ContextVar[T], value: T) -> Iterator[None]:
    """In here the variable has this value; afterwards the one that it had before."""
    before = variable.set(value)
    try:
        yield
    finally:
        variable.reset(before)
