"""Loading of data sets, noted by a watch in the tests' own process, where no audit hook can be taken back."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from bench.base.events import LOADED
from bench.submission.guards import Watch

_watching: list[Watch] = []


@contextmanager
def loads_noted(watch: Watch) -> Iterator[None]:
    """In here the watch sees what is loaded, and nothing else that is audited."""
    _install()
    _watching.append(watch)
    try:
        yield
    finally:
        _watching.pop()


@cache
def _install() -> None:
    sys.addaudithook(_hook)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == LOADED and _watching:
        _watching[-1].note(f"it loads the data set {arguments[0]!r}")
