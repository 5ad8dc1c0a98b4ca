"""A row and an attack, on the way to their cells."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from bench import registry
from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.federation.settings import FederationSettings
from bench.suite.cell import Cell, KindName, Parameters, Part

if TYPE_CHECKING:
    from bench.suite.schema import Suite

EITHER = {
    "local_epochs": "local_steps",
    "local_steps": "local_epochs",
    "lr_decay": "lr_milestones",
    "lr_milestones": "lr_decay",
}
"""Settings of which there is one at most: how long a client trains, and how its learning rate falls."""


@dataclass(frozen=True)
class Meeting:
    """A row of a suite and an attack with all its parameters."""

    suite: "Suite"
    label: str
    defense: Part
    overrides: Parameters
    attack: Part
    sweep: list[str]

    def federation(self, *layers: Parameters, where: str | None = None) -> FederationSettings:
        """The row's federation, with what each layer changes."""
        return federation_of(self.suite, where or self.label, self.overrides, *layers)

    def cell(self, kind: KindName, settings: FederationSettings, sweep: Iterable[str] = (), **fields: Any) -> Cell:
        return Cell(
            label=self.label,
            defense=self.defense,
            attack=self.attack,
            federation=settings,
            kind=kind,
            rho=self.attack.parameters.get("rho"),
            sweep=", ".join([*self.sweep, *sweep]),
            **fields,
        )


def federation_of(suite: "Suite", where: str, *layers: Parameters) -> FederationSettings:
    """The suite's federation with what each layer says, the later over the earlier."""
    settings = suite.federation.model_dump()
    for layer in layers:
        settings |= {other: None for one, other in EITHER.items() if layer.get(one) is not None}
        settings |= layer
    try:
        return FederationSettings(**settings)
    except ValidationError as error:
        raise BadInputError(f"suite {suite.name!r}, {where}: {explain(error)}") from None


def sweep(what: str, parameters: Parameters) -> Iterator[tuple[Parameters, list[str]]]:
    """Every point of the product of the lists among the parameters, and the names of those lists."""
    swept = [key for key, value in parameters.items() if isinstance(value, list)]
    if empty := [key for key in swept if not parameters[key]]:
        raise BadInputError(f"{what}: {empty[0]} is an empty list, a sweep over nothing")
    for values in itertools.product(*(parameters[key] for key in swept)):
        yield {**parameters, **dict(zip(swept, values, strict=True))}, swept


def make_part(kind: Literal["defense", "attack"], name: str, parameters: Parameters) -> Part:
    """The part with all its parameters; `BadInputError` where they are not what its class takes."""
    cls = registry.get(kind, name)
    try:
        instance = cls(**parameters)
    except ValidationError as error:
        raise BadInputError(f"{kind} {name!r}: {explain(error)}") from None
    except ValueError as error:
        raise BadInputError(f"{kind} {name!r}: {error}") from None
    version: int = cls.version  # type: ignore[attr-defined]
    return Part(name=name, version=version, parameters=instance.model_dump(mode="json"))
