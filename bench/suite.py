"""A suite: a TOML file that says what meets what; validated, it becomes a list of cells.

A cell is one defense against one attack in one setting, with every hyperparameter written out; with a seed it is one
record. A list among an attack's or a defense's parameters is a sweep.
"""

import hashlib
import itertools
import json
import math
import tomllib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from bench.errors import BadInputError, require_somebody
from bench.names import unknown
from bench.settings import MOST, FederationSettings, Numbers, Resources

Parameters = dict[str, Any]
Kind = Literal["training", "inversion", "audit"]
"""What a cell plays: a training, an inversion of what clients upload, or the distinguishing game of an audit."""
LENGTHS = {"local_epochs": "local_steps", "local_steps": "local_epochs"}
"""How long a client trains in a round: each of the two takes the place of the other."""
TABLES = ("federation", "privacy", "ranking", "resources")
"""The tables of a suite that `--set` reaches as `TABLE.KEY`."""

CLEAN = "clean"
"""The column, and the folder, of runs without an attack."""

RECOVERED_PSNR = 20.0
STRICT = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Part(BaseModel):
    """A defense or an attack with all its parameters, defaults included, and the version of its code."""

    model_config = STRICT

    name: str
    version: int
    parameters: Parameters


class Cell(BaseModel):
    """One meeting: a defense and an attack in a federation. `byzantine` and `rho` are fractions of the clients."""

    model_config = STRICT

    label: str  # the defense's row
    defense: Part
    attack: Part | None  # None is the clean run
    federation: FederationSettings
    byzantine: float = Field(default=0.0, ge=0, le=1)
    rho: float | None = Field(default=None, ge=0, le=1)
    kind: Kind = "training"
    targets: int = Field(default=0, ge=0)  # clients that an inversion is after
    trained: int = Field(default=0, ge=0)  # rounds of training before the ones that it watches
    sweep: str = ""  # what tells the attack from the suite's others of its name, such as "s=2"; a label, not content

    @property
    def is_privacy(self) -> bool:
        return self.kind == "inversion"

    @property
    def num_byzantine(self) -> int:
        """How many of the clients are Byzantine."""
        return round(self.byzantine * self.federation.clients)

    @property
    def attack_name(self) -> str:
        return CLEAN if self.attack is None else self.attack.name

    @property
    def column(self) -> str:
        """The board's column: the attack, its strength and what else tells it from the suite's others."""
        strength = f" b={self.byzantine:g}" if self.byzantine else f" rho={self.rho:g}" if self.rho else ""
        return f"{self.attack_name}{' ' * bool(self.sweep)}{self.sweep}{strength}"

    @property
    def hash(self) -> str:
        """Equal for equal cells, whatever order their parameters were given in."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def content(self) -> Parameters:
        """All that can change the cell's numbers."""
        return self.model_dump(mode="json", exclude={"sweep"})


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

    `[attack.privacy]` changes the suite's `[privacy]` for this attack; a list in it is a sweep.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    byzantine: tuple[float, ...] = ()
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

    name: str = Field(pattern=r"^([a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*$")
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
                cell = met.cell("training", settings, byzantine=b)
                try:
                    require_somebody("byzantine", b, settings.clients, "clients")
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
            settings |= {other: None for one, other in LENGTHS.items() if layer.get(one) is not None}
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


def shipped() -> dict[str, Path]:
    """The suites that come with the package, by name; those of the papers' items as `papers/NAME`."""
    folder = Path(str(resources.files("bench") / "suites"))
    found = [*sorted(folder.glob("*.toml")), *sorted(folder.glob("papers/*.toml"))]
    return {path.relative_to(folder).with_suffix("").as_posix(): path for path in found}


def titles() -> dict[str, str]:
    """One line for each shipped suite."""
    return {name: tomllib.loads(path.read_text(encoding="utf-8"))["title"] for name, path in shipped().items()}


def load(name_or_path: str, changes: Iterable[str] = ()) -> Suite:
    """The suite of that name or in that TOML file, with `changes` (`key=value`) made.

    Raises `BadInputError`, in one line, for whatever is wrong with it.

    A key is one of the federation's (`rounds=5`), `privacy.KEY`, or `NAME.KEY` for a defense's or attack's parameter.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        if name_or_path not in shipped():
            raise BadInputError(unknown("suite", name_or_path, shipped()) + "; or give the path of a .toml file")
        path = shipped()[name_or_path]
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # some editors put a byte order mark first
    except OSError as error:
        raise BadInputError(f"cannot read suite {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"suite {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise BadInputError(f"suite {path} is not valid TOML: its arrays or tables are nested too deep") from None
    if "extends" in content:
        raise BadInputError(
            f"suite {path}: extends: a suite takes nothing from another one: copy the file, such as "
            f"{shipped()['digits']}, or change single values of it with --set KEY=VALUE"
        )
    suite = _validated(content, path)
    for change in changes:
        _apply(content, change)
        suite = _validated(content, path)
    return suite


def _validated(content: dict[str, Any], path: Path) -> Suite:
    try:
        return Suite(**content)
    except ValidationError as error:
        raise BadInputError(f"suite {path}: {explain(error)}") from None


def _apply(content: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.rpartition(".")[2].strip():
        raise BadInputError(f"--set {change!r} is not of the form key=value")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, RecursionError):
        value = text
    table, dot, name = key.strip().rpartition(".")
    if not dot and name in FederationSettings.model_fields:
        federation = content["federation"]
        if name in LENGTHS:
            federation.pop(LENGTHS[name], None)
        federation[name] = value
        for entry, overruled in itertools.product(content["defense"], (name, LENGTHS.get(name, name))):
            entry.get("federation", {}).pop(overruled, None)
    elif table in TABLES:
        content.setdefault(table, {})[name] = value
    elif entries := [
        entry for kind in ("defense", "attack") for entry in content.get(kind, []) if entry["name"] == table
    ]:
        for entry in entries:
            entry[name] = value
    elif dot:
        names = {entry["name"] for kind in ("defense", "attack") for entry in content[kind]}
        raise BadInputError(unknown("defense, attack or table", table, {*names, *TABLES}))
    else:
        raise BadInputError(unknown("key to --set", key.strip(), FederationSettings.model_fields))
