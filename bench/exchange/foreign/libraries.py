"""The libraries that adapters are written for, none of which is imported before it is asked for."""

import tomllib
from collections.abc import Iterable
from typing import Any

from bench.base.errors import BadInputError
from bench.base.names import unknown
from bench.exchange.foreign.entry import Entry, Library

LIBRARIES: dict[str, Library] = {
    one.name: one
    for one in (
        Library("flwr", "flwr", "flwr", "flower", "bench.exchange.foreign.flower"),
        Library("byzfl", "byzfl", "byzfl", "byzfl", "bench.exchange.foreign.byzfl"),
        Library("byzpy", "byzpy", "byzpy", "byzpy", "bench.exchange.foreign.byzpy"),
        Library("nvflare", "nvflare", "nvflare", "nvflare", "bench.exchange.foreign.nvflare"),
    )
}


def find(text: str, form: str = "rows", ours: str | None = None) -> Entry:
    """What `LIBRARY:NAME` or `module:function` names; raises `BadInputError`, in one line, where there is none."""
    library, colon, name = text.partition(":")
    if not colon or not library or not name:
        known = ", ".join(LIBRARIES)
        raise BadInputError(
            f"{text!r} is not LIBRARY:NAME, such as flwr:Krum (libraries: {known}), or module:function of your own"
        )
    if library in LIBRARIES:
        entries = LIBRARIES[library].all()
        if name not in entries:
            raise BadInputError(unknown(f"rule, attack or wrapper of {library}", name, entries))
        return entries[name]
    from bench.exchange.foreign import path

    return path.entry(library, name, form, ours)


def version_of(entry: Entry) -> str:
    """The library's version; "" for a function of one's own."""
    known = LIBRARIES.get(entry.library)
    return known.version if known is not None else ""


def given(changes: Iterable[str]) -> dict[str, Any]:
    """`key=value` as TOML values, else texts; raises `BadInputError` for what is no such pair."""
    results: dict[str, Any] = {}
    for change in changes:
        key, equals, text = change.partition("=")
        if not equals or not key.strip():
            raise BadInputError(f"--set {change!r} is not of the form key=value")
        try:
            results[key.strip()] = tomllib.loads(f"value = {text}")["value"]
        except (tomllib.TOMLDecodeError, RecursionError):
            results[key.strip()] = text
    return results
