"""A suite, as its TOML file has it: validated, it becomes a list of cells."""

from collections.abc import Iterable

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.numbers import MOST, STRICT, Numbers
from bench.federation.settings import FederationSettings
from bench.suite.cell import Cell, KindName, Parameters
from bench.suite.entries import AttackEntry, DefenseEntry, PrivacySettings, Ranking
from bench.suite.expansion import expand
from bench.suite.factors import Factor, check
from bench.suite.kinds import KINDS
from bench.suite.resources import Resources


class Suite(Numbers):
    """A validated suite."""

    model_config = STRICT

    name: str = Field(pattern=r"^([a-z0-9][a-z0-9._-]*/)?[a-z0-9][a-z0-9._-]*(@[a-z0-9.,_=+-]+)?$")  # @: a family's
    title: str
    seeds: tuple[int, ...] = Field(min_length=1)
    seeds_of: dict[KindName, tuple[int, ...]] = Field(default_factory=dict)  # of kinds of cells that have others
    threads: int = Field(default=1, ge=1, le=1024)  # of torch in a cell: numbers do not depend on the workers
    federation: FederationSettings
    privacy: PrivacySettings = PrivacySettings()
    defense: tuple[DefenseEntry, ...] = Field(min_length=1)
    attack: tuple[AttackEntry, ...] = Field(min_length=1)
    factor: tuple[Factor, ...] = ()
    ranking: Ranking = Ranking()
    resources: Resources = Resources()  # of a cell on a cluster; no part of cells and setting, as it changes no number
    training: bool = True  # whether the clean run is among the cells; a suite of privacy attacks may do without
    tune: dict[str, dict[str, list[float]]] = Field(default_factory=dict)  # what `bench tune` tries, by defense
    tuning_attack: tuple[AttackEntry, ...] = ()  # under which `bench tune --worst-case` tries it; none of the columns

    @field_validator("seeds")
    @classmethod
    def _no_seed_twice(cls, seeds: tuple[int, ...]) -> tuple[int, ...]:
        twice = sorted({seed for seed in seeds if seeds.count(seed) > 1})
        if twice:
            raise ValueError(f"seed {twice[0]} stands there twice")
        if strange := [seed for seed in seeds if not 0 <= seed <= MOST]:
            raise ValueError(f"seed {strange[0]} is not between 0 and {MOST}")
        return seeds

    @field_validator("seeds_of")
    @classmethod
    def _seeds_of_each_kind(cls, given: dict[KindName, tuple[int, ...]]) -> dict[KindName, tuple[int, ...]]:
        if empty := [kind for kind, seeds in given.items() if not seeds]:
            raise ValueError(f"{empty[0]} has no seed, but must have one at least")
        return {kind: cls._no_seed_twice(seeds) for kind, seeds in given.items()}

    @property
    def seeds_by_kind(self) -> dict[KindName, tuple[int, ...]]:
        """The seeds of each kind of cells: those of `[seeds_of]`, else the suite's."""
        return {kind: self.seeds_of.get(kind, self.seeds) for kind in KINDS}

    def seeds_for(self, cell: Cell) -> tuple[int, ...]:
        """The seeds that a cell is asked to have."""
        return self.seeds_of.get(cell.kind, self.seeds)

    @model_validator(mode="after")
    def _factors_go_through_the_base(self) -> "Suite":
        check(self.factor, self.federation, self.defense, self.attack)
        return self

    @model_validator(mode="after")
    def _tuned_under_other_attacks(self) -> "Suite":
        columns = {entry.name for entry in self.attack}
        if shared := [entry.name for entry in self.tuning_attack if entry.name in columns]:
            raise ValueError(f"tuning_attack {shared[0]!r} is a column: rows must not be tuned under what ranks them")
        return self

    def with_seeds(self, seeds: Iterable[int]) -> "Suite":
        """The same suite with these seeds in all cells; `BadInputError` where there is none, or one is there twice."""
        try:
            return Suite(**{**dict(self), "seeds": tuple(seeds), "seeds_of": {}})
        except ValidationError as error:
            raise BadInputError(f"suite {self.name!r}: {explain(error)}") from None

    def cells(self, defenses: Iterable[str] = (), attacks: Iterable[str] = ()) -> list[Cell]:
        """All cells, or those of the named defenses (rows) and attacks; clean runs are among them, if in the suite.

        Names come one by one, or several in one text with commas between; `clean` alone is the clean runs alone.
        """
        return expand(self, defenses, attacks)

    def setting_content(self) -> Parameters:
        """What all cells of a board share: the federation and its privacy variant."""
        ranking = self.ranking.model_dump(exclude_defaults=True)
        return {
            "federation": self.federation.model_dump(mode="json"),
            "privacy": self.privacy.model_dump(mode="json"),
            **({"ranking": ranking} if ranking else {}),
        }
