"""What another library offers, and how it is called: one entry a rule, a pre-aggregation, an attack or a mechanism."""

import importlib
import importlib.metadata
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from torch import Tensor

from bench.base.errors import BadInputError

Kind = Literal["rule", "mixing", "attack", "mechanism"]
"""A rule gives `(d,)` of rows `(n, d)`, a mixing `(k, d)`, an attack `(d,)` of the honest rows, which all attackers
send; a mechanism is a privacy wrapper."""

Apply = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Entry:
    """One thing of a library: `make(n, f, parameters)` gives a fresh one, which is called with rows `(n, d)`.

    `ours` is the rule of `meanings` that it is compared with, "" for none. `remembers` says that one object plays all
    rounds of a training, and `models` that it takes the clients' models and not their updates.
    """

    library: str
    name: str
    kind: Kind
    make: Callable[[int, int, Mapping[str, Any]], Apply]
    ours: str = ""
    told: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    remembers: bool = False
    models: bool = False
    random: bool = False
    close: float = 1e-9

    @property
    def label(self) -> str:
        """Its name as a row of a board."""
        return f"{self.library}.{self.name}"


@dataclass(frozen=True)
class Library:
    """A package that may be installed, and what this project knows of it."""

    name: str
    module: str
    distribution: str
    extra: str
    entries: str  # the module of the adapters, which is imported only where the package is there

    def installed(self) -> bool:
        """Whether the package can be imported; nothing of it is imported here."""
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self) -> str:
        """The installed version."""
        return importlib.metadata.version(self.distribution)

    def all(self) -> dict[str, Entry]:
        """Its entries by name; raises `BadInputError`, with the command, where the package is not installed."""
        if not self.installed():
            raise BadInputError(f"{self.distribution} is not installed: pip install {self.how}")
        try:
            module = importlib.import_module(self.entries)
        except ImportError as error:
            text = " ".join(str(error).split())
            raise BadInputError(f"{self.distribution} {self.version} cannot be imported here: {text}") from error
        result: dict[str, Entry] = module.entries()
        return result

    @property
    def how(self) -> str:
        """What pip is asked for."""
        return f"'fedsiege[{self.extra}]'" if self.extra else self.distribution


def takes(called: Callable[..., Any], *names: str) -> str | None:
    """The first of these parameters that a callable has; None where it has none of them."""
    try:
        known = inspect.signature(called).parameters
    except (TypeError, ValueError):
        return None
    return next((name for name in names if name in known), None)


def built(kind: Callable[..., Any], given: Mapping[str, Any], what: str) -> Any:
    """An object of a library's class; `BadInputError` for parameters that it has not, or refuses."""
    known = inspect.signature(kind).parameters
    free = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in known.values())
    for name in given:
        if name not in known and not free:
            raise BadInputError(f"{what} has no parameter {name!r}; it has {', '.join(known) or 'none'}")
    try:
        return kind(**given)
    except (TypeError, ValueError) as error:
        raise BadInputError(f"{what}: {' '.join(str(error).split())}") from error
