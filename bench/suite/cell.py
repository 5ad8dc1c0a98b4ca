"""A cell: one defense against one attack in one setting, with every hyperparameter written out."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, Field

from bench import registry
from bench.base.numbers import MOST, STRICT, Numbers, added
from bench.federation.settings import FederationSettings

Parameters = dict[str, Any]

KindName = Literal["training", "inversion", "audit", "run_audit", "membership", "property"]
"""The names of the kinds of cells, of `bench.suite.kinds`."""

CLEAN = "clean"
"""The column, and the folder, of runs without an attack."""

LOOKING = "looking"
"""What a coalition does that forges nothing."""

RECOVERED_PSNR = 20.0


class Part(BaseModel):
    """A defense or an attack with all its parameters, defaults included, and the version of its code."""

    model_config = STRICT

    name: str
    version: int
    parameters: Parameters


class Cell(Numbers):
    """One meeting: a defense and an attack in a federation. `byzantine` and `rho` are fractions of the clients.

    An inversion, or an inference of membership, with Byzantine clients is that of a coalition: they tell the server
    what they know, and send what `forging` makes, or, without it, what honest clients send.

    `loaded` are digests of the files of somebody's own that bring what it names, such as {"defense mine": "0123..."}:
    two files that bring the same name never share a record.
    """

    model_config = STRICT

    label: str  # the defense's row
    defense: Part
    attack: Part | None  # None is the clean run
    federation: FederationSettings
    byzantine: float = Field(default=0.0, ge=0, le=1)
    rho: float | None = Field(default=None, ge=0, le=1)
    kind: KindName = "training"
    targets: int = Field(
        default=0, ge=0
    )  # clients that an inversion, or inference of membership or a property, is after
    trained: int = Field(default=0, ge=0)  # rounds of training before the ones that it watches
    loaded: dict[str, str] = added({})
    sweep: str = ""  # what tells the attack from the suite's others of its name, such as "s=2"; a label, not content
    level: str = added("")  # of the factor that is changed, such as "local epochs: 5"; a label too
    start: int | None = added(None, ge=1, le=MOST)  # the first round, counted from 1, in which the attack forges
    stop: int | None = added(None, ge=1, le=MOST)  # and the last one
    forging: Part | None = added(None)  # what the Byzantine clients of a coalition send

    @property
    def is_privacy(self) -> bool:
        return self.kind == "inversion"

    @property
    def is_coalition(self) -> bool:
        """Whether Byzantine clients and the server are one attacker."""
        return self.kind in ("inversion", "membership") and self.byzantine > 0

    @property
    def forges(self) -> bool:
        """Whether anybody sends what an honest client would not."""
        return self.byzantine > 0 and (self.forging is not None or not self.is_coalition)

    @property
    def num_byzantine(self) -> int:
        """How many of the clients are Byzantine."""
        return round(self.byzantine * self.federation.clients)

    @property
    def attacked_rounds(self) -> range:
        """The rounds, counted from 0, in which Byzantine clients send what the attack makes; all by default."""
        return range((self.start or 1) - 1, self.federation.rounds if self.stop is None else self.stop)

    @property
    def attack_name(self) -> str:
        return CLEAN if self.attack is None else self.attack.name

    @property
    def column(self) -> str:
        """The board's column: the attack, its strength, its rounds and what else tells it from the suite's others.

        Behind it the level of a factor, in a cell that is not of the base case.
        """
        strength = f" b={self.byzantine:g}" if self.byzantine else f" rho={self.rho:g}" if self.rho else ""
        strength += f" + {LOOKING if self.forging is None else self.forging.name}" if self.is_coalition else ""
        level = f" [{self.level}]" if self.level else ""
        return f"{self.attack_name}{' ' * bool(self.sweep)}{self.sweep}{strength}{self._schedule}{level}"

    @property
    def _schedule(self) -> str:
        if self.stop is not None:
            return f" rounds {self.start or 1}-{self.stop}"
        return "" if self.start is None else f" from round {self.start}"

    @cached_property
    def hash(self) -> str:
        """Equal for equal cells, whatever order their parameters were given in; boards ask for it over and over."""
        return hashlib.sha256(json.dumps(self.content, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def content(self) -> Parameters:
        """All that can change the cell's numbers."""
        return self.model_dump(mode="json", exclude={"sweep", "level"})

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """As every model's; the copy has a hash of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("hash", None)
        return copied


def sourced(cell: Cell) -> Cell:
    """The cell with the digest of each file that brings its defense, a rule in that one's parameters, attack or model.

    What a data set is made of has a digest of its own in every record.
    """
    named: list[tuple[registry.Kind, str]] = [("defense", cell.defense.name), ("model", cell.federation.model)]
    named += [("defense", text) for text in _texts(cell.defense.parameters)]
    if cell.attack is not None:
        named += [("attack", cell.attack.name), *(("defense", text) for text in _texts(cell.attack.parameters))]
    if cell.forging is not None:
        named += [
            ("attack", cell.forging.name),
            *(("defense", text) for text in _texts(cell.forging.parameters)),
        ]
    results = {f"{kind} {name}": digest for kind, name in named if (digest := registry.source_of(kind, name))}
    return cell.model_copy(update={"loaded": results}) if results else cell


def _texts(value: Any) -> Iterator[str]:
    """All texts in parameters, however deep."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _texts(part)
