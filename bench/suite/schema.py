"""A suite: a TOML file that says what meets what; validated, it becomes a list of cells.

A cell is one defense against one attack in one setting, with every hyperparameter written out; with a seed it is one
record. A list among an attack's or a defense's parameters is a sweep.
"""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bench.base.errors import BadInputError, require, require_somebody
from bench.base.explain import explain
from bench.base.names import unknown
from bench.base.numbers import MOST, STRICT, Numbers, added
from bench.federation.settings import FederationSettings
from bench.suite.cell import CLEAN, RECOVERED_PSNR, Cell, Kind, Parameters, Part
from bench.suite.resources import Resources

EITHER = {
    "local_epochs": "local_steps",
    "local_steps": "local_epochs",
    "lr_decay": "lr_milestones",
    "lr_milestones": "lr_decay",
}
"""Settings of which there is one at most: how long a client trains, and how its learning rate falls."""


class DefenseEntry(BaseModel):
    """A `[[defense]]` table: `name`, optional `label` and `[defense.federation]`, every other key a parameter."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    label: str | None = None
    federation: Parameters = {}

    @property
    def parameters(self) -> Parameters:
        return dict(self.model_extra or {})


class AttackEntry(Numbers):
    """An `[[attack]]` table: `name`, `byzantine` for Byzantine clients, every other key a parameter.

    `start` and `stop` are the first and the last round, counted from 1, in which Byzantine clients attack; in all
    others they are honest. `[attack.privacy]` changes the suite's `[privacy]` for this attack; a list in it is a sweep.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    byzantine: tuple[float, ...] = ()
    start: int | None = added(None, ge=1, le=MOST)
    stop: int | None = added(None, ge=1, le=MOST)
    privacy: Parameters = Field(default_factory=dict)

    @field_validator("byzantine", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else [value]

    @field_validator("byzantine")
    @classmethod
    def _fractions(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        for fraction in value:
            if not 0 <= fraction <= 1 or math.copysign(1, fraction) < 0:  # -0.0 drops the attack as 0 does
                raise ValueError(f"byzantine fraction {fraction:g} is not between 0 and 1")
        return value

    @model_validator(mode="after")
    def _starts_before_it_stops(self) -> "AttackEntry":
        if self.start is not None and self.stop is not None and self.start > self.stop:
            raise ValueError(f"start is {self.start}, but must be at most {self.stop}, the round of stop")
        return self

    @property
    def parameters(self) -> Parameters:
        return dict(self.model_extra or {})


class PrivacySettings(Numbers):
    """The `[privacy]` table: targets, rounds of training beforehand, and what inversions change in the federation."""

    model_config = ConfigDict(frozen=True, extra="allow")

    targets: int = Field(default=16, ge=1, le=MOST)
    trained: int = Field(default=0, ge=0, le=MOST)

    @property
    def federation(self) -> Parameters:
        return dict(self.model_extra or {})


class Ranking(Numbers):
    """The `[ranking]` table."""

    model_config = STRICT

    recovered_psnr: float = RECOVERED_PSNR  # dB from which a reconstructed image counts as recovered


@dataclass(frozen=True)
class Meeting:
    """A row and an attack with all its parameters, on the way to their cells."""

    label: str
    defense: Part
    overrides: Parameters
    attack: Part
    sweep: list[str]

    def cell(self, kind: Kind, settings: FederationSettings, sweep: Iterable[str] = (), **fields: Any) -> Cell:
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


class Suite(Numbers):
    """A validated suite."""

    model_config = STRICT

    name: str = Field(pattern=r"^([a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*(@[a-z0-9.,_=+-]+)?$")  # @: a family's
    title: str
    seeds: tuple[int, ...] = Field(min_length=1)
    threads: int = Field(default=1, ge=1, le=1024)  # of torch in a cell: numbers do not depend on the workers
    federation: FederationSettings
    privacy: PrivacySettings = PrivacySettings()
    defense: tuple[DefenseEntry, ...] = Field(min_length=1)
    attack: tuple[AttackEntry, ...] = Field(min_length=1)
    ranking: Ranking = Ranking()
    resources: Resources = Resources()  # of a cell on a cluster; no part of cells and setting, as it changes no number
    training: bool = True  # whether the clean run is among the cells; a suite of privacy attacks may do without
    tune: dict[str, dict[str, list[float]]] = Field(default_factory=dict)  # what `bench tune` tries, by defense

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seed {twice[0]} stands there twice")
        return seeds

    def with_seeds(self, seeds: Iterable[int]) -> "Suite":
        """The same suite with these seeds; `BadInputError` where there is none, or one stands there twice."""
        try:
            return Suite(**{**dict(self), "seeds": tuple(seeds)})
        except ValidationError as error:
            raise BadInputError(f"suite {self.name!r}: {explain(error)}") from None

    def cells(self, defenses: Iterable[str] = (), attacks: Iterable[str] = ()) -> list[Cell]:
        """All cells, or those of the named defenses (rows) and attacks; clean runs are among them, if in the suite.

        Names come one by one, or several in one text with commas between; `clean` alone is the clean runs alone.
        """
        rows = [row for entry in self.defense for row in self._rows(entry)]
        known_rows = {row[0] for row in rows} | {entry.name for entry in self.defense}
        known_attacks = {entry.name for entry in self.attack} | ({CLEAN} if self.training else set())
        wanted_rows, wanted_attacks = _asked_for(defenses, known_rows), _asked_for(attacks, known_attacks)
        for name in wanted_rows - known_rows:
            raise BadInputError(unknown(f"defense in suite {self.name!r}", name, [row[0] for row in rows]))
        for name in wanted_attacks - known_attacks:
            raise BadInputError(unknown(f"attack in suite {self.name!r}", name, known_attacks))
        cells: dict[str, Cell] = {}
        for label, part, overrides in rows:
            if wanted_rows and not wanted_rows & {label, part.name}:
                continue
            found = [self._clean(label, part, overrides)] if self.training else []
            for entry in self.attack:
                if not wanted_attacks or entry.name in wanted_attacks:
                    found += self._meetings(label, part, overrides, entry)
            for cell in found:
                cells.setdefault(cell.hash, cell)
        self._check_places(cells.values())
        return list(cells.values())

    def _check_places(self, cells: Iterable[Cell]) -> None:
        """Refuse two different cells in one place of a board."""
        for place, count in Counter((cell.label, cell.column) for cell in cells).items():
            if count > 1:
                row, column = place
                raise BadInputError(
                    f"suite {self.name!r}: row {row!r} x {column!r} stands there twice: give a defense another label, "
                    "or make an attack's parameter a list"
                )

    def _rows(self, entry: DefenseEntry) -> Iterator[tuple[str, Part, Parameters]]:
        """(label, defense, federation overrides): one row, or one for every value of its sweeps."""
        for point, swept in _sweep(f"defense {entry.name!r}", entry.parameters):
            label = entry.label or entry.name
            if swept:
                label += f" ({', '.join(f'{key}={point[key]}' for key in swept)})"
            yield label, make_part("defense", entry.name, point), entry.federation

    def _clean(self, label: str, defense: Part, overrides: Parameters) -> Cell:
        return Cell(label=label, defense=defense, attack=None, federation=self._federation(label, overrides))

    def _meetings(self, label: str, defense: Part, overrides: Parameters, entry: AttackEntry) -> Iterator[Cell]:
        """The cells of one row and one attack, of the kind that the attack's class makes."""
        from bench import registry
        from bench.threat import ByzantineAttack, PrivacyAudit

        cls = registry.get("attack", entry.name)
        by_forging = issubclass(cls, ByzantineAttack)
        if by_forging and not entry.byzantine:
            raise BadInputError(f"suite {self.name!r}: attack {entry.name!r} needs byzantine, the fractions of clients")
        if not by_forging and entry.byzantine:
            raise BadInputError(f"suite {self.name!r}: attack {entry.name!r} forges nothing and takes no byzantine")
        if not by_forging and (entry.start, entry.stop) != (None, None):
            raise BadInputError(f"suite {self.name!r}: attack {entry.name!r} forges nothing and takes no start or stop")
        if entry.privacy and (by_forging or issubclass(cls, PrivacyAudit)):
            raise BadInputError(
                f"suite {self.name!r}: attack {entry.name!r} inverts nothing and takes no privacy table"
            )
        play = self._trainings if by_forging else self._audits if issubclass(cls, PrivacyAudit) else self._inversions
        for point, swept in _sweep(f"attack {entry.name!r}", entry.parameters):
            attack = make_part("attack", entry.name, point)
            sweep = [f"{key}={point[key]}" for key in swept if key != "rho"]
            yield from play(Meeting(label, defense, overrides, attack, sweep), entry)

    def _trainings(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        for b in entry.byzantine:
            if b > 0:  # at b = 0 every such attack is the clean run
                settings = self._federation(met.label, met.overrides)
                cell = met.cell("training", settings, byzantine=b, start=entry.start, stop=entry.stop)
                try:
                    require_somebody("byzantine", b, settings.clients, "clients")
                    first, rounds = entry.start or 1, settings.rounds
                    require(first <= rounds, "start", first, f"at most {rounds}, the rounds of the training")
                except ValueError as error:
                    raise BadInputError(f"suite {self.name!r}, row {met.label!r}, {cell.column}: {error}") from None
                yield cell

    def _audits(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        from bench import registry

        if registry.get("defense", met.defense.name).claims_privacy():  # type: ignore[attr-defined]
            yield met.cell("audit", self._federation(met.label, met.overrides))

    def _inversions(self, met: Meeting, entry: AttackEntry) -> Iterator[Cell]:
        for point, swept in _sweep(f"privacy of attack {entry.name!r}", entry.privacy):
            try:
                privacy = PrivacySettings(**{**dict(self.privacy), **point})
            except ValidationError as error:
                raise BadInputError(f"suite {self.name!r}, privacy of {entry.name!r}: {explain(error)}") from None
            settings = self._federation(f"privacy of {met.label}", met.overrides, privacy.federation)
            more = [f"{key}={point[key]}" for key in swept]
            yield met.cell("inversion", settings, more, targets=privacy.targets, trained=privacy.trained)

    def _federation(self, where: str, *layers: Parameters) -> FederationSettings:
        """The suite's federation with what each layer says, the later over the earlier."""
        settings = self.federation.model_dump()
        for layer in layers:
            settings |= {other: None for one, other in EITHER.items() if layer.get(one) is not None}
            settings |= layer
        try:
            return FederationSettings(**settings)
        except ValidationError as error:
            raise BadInputError(f"suite {self.name!r}, {where}: {explain(error)}") from None

    def setting_content(self) -> Parameters:
        """What all cells of a board share: the federation and its privacy variant."""
        ranking = self.ranking.model_dump(exclude_defaults=True)
        return {
            "federation": self.federation.model_dump(mode="json"),
            "privacy": self.privacy.model_dump(mode="json"),
            **({"ranking": ranking} if ranking else {}),
        }


def _asked_for(names: Iterable[str], known: Collection[str]) -> set[str]:
    """The names, one for each; what is no name is a list of them where one of its parts is (labels may have commas)."""
    found = set[str]()
    for name in [names] if isinstance(names, str) else names:
        parts = {part.strip() for part in name.split(",")}
        found |= parts if name not in known and parts & set(known) else {name}
    return found


def _sweep(what: str, parameters: Parameters) -> Iterator[tuple[Parameters, list[str]]]:
    """Every point of the product of the lists among the parameters, and the names of those lists."""
    swept = [key for key, value in parameters.items() if isinstance(value, list)]
    if empty := [key for key in swept if not parameters[key]]:
        raise BadInputError(f"{what}: {empty[0]} is an empty list, a sweep over nothing")
    for values in itertools.product(*(parameters[key] for key in swept)):
        yield {**parameters, **dict(zip(swept, values, strict=True))}, swept


def make_part(kind: Literal["defense", "attack"], name: str, parameters: Parameters) -> Part:
    """The part with all its parameters; `BadInputError` where they are not what its class takes."""
    from bench import registry

    cls = registry.get(kind, name)
    try:
        instance = cls(**parameters)
    except ValidationError as error:
        raise BadInputError(f"{kind} {name!r}: {explain(error)}") from None
    except ValueError as error:
        raise BadInputError(f"{kind} {name!r}: {error}") from None
    version: int = cls.version  # type: ignore[attr-defined]
    return Part(name=name, version=version, parameters=instance.model_dump(mode="json"))
