"""The `[[factor]]` tables of a suite: a design that changes one factor at a time around the suite as it stands.

The suite's own federation is the base case. Every level of a factor is the suite once more with one thing changed, and
all of its rows and attacks; the full product of all factors is played nowhere.
"""

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ConfigDict, Field, model_validator

from bench.base.names import unknown
from bench.base.numbers import Numbers
from bench.federation.settings import FederationSettings
from bench.suite.cell import Parameters
from bench.suite.entries import AttackEntry, DefenseEntry

if TYPE_CHECKING:
    from bench.suite.schema import Suite

BYZANTINE = "byzantine"
"""The one key of a factor that is no setting of the federation: the fraction b of every attack."""


@dataclass(frozen=True)
class Level:
    """One level of a factor: its settings of the federation, and the fraction of Byzantine clients, if it sets that."""

    factor: str
    name: str
    federation: Parameters
    byzantine: float | None
    without: tuple[str, ...] = ()  # rows that cannot be played at it

    @property
    def label(self) -> str:
        """What its cells say of themselves."""
        return f"{self.factor}: {self.name}"

    def is_base(self, federation: FederationSettings, attacks: Iterable[AttackEntry]) -> bool:
        """Whether this is the suite as it stands."""
        same = all(getattr(federation, key) == value for key, value in self.federation.items())
        return same and (self.byzantine is None or all(one.byzantine == (self.byzantine,) for one in attacks))


class Factor(Numbers):
    """A `[[factor]]` table: `name`, and for each setting that it changes the list of its values, a level a place.

    `levels` names the levels, by default the values of the first list. `without` are rows that cannot be played at any
    level but the base, such as those whose clients send no momentum.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    name: str = Field(min_length=1, max_length=60)
    levels: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _as_long_as_one_another(self) -> "Factor":
        known = {*FederationSettings.model_fields, BYZANTINE}
        for key, values in self._lists.items():
            if key not in known:
                raise ValueError(unknown("setting that a factor may change", key, known))
            if not isinstance(values, list) or len(values) < 2:
                raise ValueError(f"{key} is {values}, but must be a list of two values or more, one a level")
        lengths = {key: len(values) for key, values in self._lists.items()}
        lengths |= {"levels": len(self.levels)} if self.levels else {}
        if not self._lists:
            raise ValueError("give a setting and the list of its values, such as local_epochs = [1, 5]")
        if len(set(lengths.values())) > 1:
            text = ", ".join(f"{key} has {length}" for key, length in lengths.items())
            raise ValueError(f"{text}: all lists must be as long as one another, a place a level")
        if len(set(self._names)) < len(self._names):
            raise ValueError(f"levels {', '.join(self._names)}: each must have a name of its own")
        return self

    @property
    def points(self) -> list[Level]:
        """Its levels in their order, the base among them."""
        results = []
        for place, name in enumerate(self._names):
            settings = {key: values[place] for key, values in self._lists.items()}
            byzantine = settings.pop(BYZANTINE, None)
            results.append(Level(self.name, name, settings, byzantine, self.without))
        return results

    @property
    def _lists(self) -> dict[str, Any]:
        return dict(self.model_extra or {})

    @property
    def _names(self) -> tuple[str, ...]:
        return self.levels or tuple(_text(value) for value in next(iter(self._lists.values()), ()))


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def check(
    factors: Collection[Factor],
    federation: FederationSettings,
    defenses: Collection[DefenseEntry],
    attacks: Collection[AttackEntry],
) -> None:
    """Raise `ValueError` unless each factor goes through the suite as it stands, and through nothing that rows set."""
    rows = {entry.label or entry.name for entry in defenses}
    names = [factor.name for factor in factors]
    seen: dict[str, str] = {}
    for factor in factors:
        where = f"factor {factor.name!r}"
        if names.count(factor.name) > 1:
            raise ValueError(f"{where} stands there twice")
        if strange := sorted(set(factor.without) - rows):
            raise ValueError(f"{where}: {unknown('row', strange[0], rows)}")
        points = factor.points
        if sum(point.is_base(federation, attacks) for point in points) != 1:
            own = {key: getattr(federation, key) for key in points[0].federation}
            own |= {} if points[0].byzantine is None else {BYZANTINE: [list(one.byzantine) for one in attacks]}
            text = ", ".join(f"{key} = {value}" for key, value in own.items())
            raise ValueError(f"{where}: one of its levels, and no more, must be the suite as it stands, {text}")
        for point in points:
            content = json.dumps([point.federation, point.byzantine], sort_keys=True)
            if not point.is_base(federation, attacks) and seen.setdefault(content, point.label) != point.label:
                raise ValueError(f"{where}: {point.name} is the same as {seen[content]}")
        for entry in defenses:
            if mine := sorted(entry.federation.keys() & points[0].federation.keys()):
                raise ValueError(f"{where}: row {entry.label or entry.name!r} has a {mine[0]} of its own: take it out")


@dataclass(frozen=True)
class Design:
    """A factor with its levels in their order, one of which is the suite as it stands."""

    factor: str
    levels: tuple[Level, ...]
    base: Level

    @property
    def changes(self) -> set[str]:
        """The settings that it changes."""
        return set(self.base.federation)


def designs(suite: "Suite") -> list[Design]:
    """The factors of a suite."""
    results = []
    for factor in suite.factor:
        base = next(point for point in factor.points if point.is_base(suite.federation, suite.attack))
        results.append(Design(factor.name, tuple(factor.points), base))
    return results


def levels(suite: "Suite") -> Iterator[Level]:
    """Every level of every factor but the base ones, which are the suite itself."""
    for design in designs(suite):
        yield from (level for level in design.levels if level != design.base)
