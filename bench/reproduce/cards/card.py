"""A claim card, as its TOML file has it: what a paper says, and the comparison of measured numbers that judges it.

Nothing here imports torch: rows and columns that a card names are checked against its cells in `evidence`.
"""

import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from bench.base.errors import BadInputError
from bench.base.explain import explain
from bench.base.names import unknown
from bench.base.numbers import STRICT, Numbers
from bench.runs import places
from bench.suite import Suite
from bench.suite.cell import CLEAN, Parameters

FOLDER = "claims"
"""Of the cards among the published results, and of their records in any results folder."""
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
UNREAD = "none"
"""`source_read` of a card whose paper was not at hand: it has no number, and no verdict."""

Metric = Literal["accuracy", "worst_class_accuracy", "backdoor_success"]


class Term(Numbers):
    """A measured number: `metric` of a row in a column, or in the worst of several columns, `times` a factor."""

    model_config = STRICT

    row: str
    column: tuple[str, ...] = (CLEAN,)
    times: float = 1.0

    @field_validator("column", mode="before")
    @classmethod
    def _one_or_more(cls, value: object) -> object:
        return value if isinstance(value, list | tuple) else (value,)

    @field_validator("column")
    @classmethod
    def _at_least_one(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("column is [], but must name one at least")
        return value

    def text(self) -> str:
        """`0.5 krum x clean`."""
        columns = self.column[0] if len(self.column) == 1 else f"worst of {', '.join(self.column)}"
        return f"{'' if self.times == 1 else f'{self.times:g} '}{self.row} x {columns}"


class Statement(Numbers):
    """One comparison: `left` minus `right`, seed by seed, is at least or at most a bound.

    `theirs` is the paper's own number for that difference, of which ours may be off by `tolerance`. All are fractions:
    0.05 are five points of accuracy.
    """

    model_config = STRICT

    text: str
    metric: Metric = "accuracy"
    left: Term
    right: Term | None = None
    at_least: float | None = None
    at_most: float | None = None
    theirs: float | None = None
    tolerance: float | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _one_bound(self) -> "Statement":
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError("give either at_least or at_most, the bound of the difference")
        if (self.theirs is None) != (self.tolerance is None):
            raise ValueError("theirs and tolerance go together: the paper's number, and how far ours may be off")
        return self

    @property
    def bound(self) -> str:
        """`≥ 10`, in points."""
        sign, value = ("≥", self.at_least) if self.at_least is not None else ("≤", self.at_most)
        return f"{sign} {100 * (value or 0):g}"

    def difference(self) -> str:
        """What is compared, in the names of the card's cells."""
        return self.left.text() if self.right is None else f"{self.left.text()} − {self.right.text()}"


class Withstands(Numbers):
    """A claim that a rule withstands a class of attacks up to a Byzantine fraction, which published boards may refute.

    `row` is the card's own row of the rule; `attacks` are names, or none for any attack at all. It is broken where
    less than `keeps` of the clean accuracy is left. `iid` says that the claim is about clients whose data is alike.
    """

    model_config = STRICT

    row: str
    byzantine: float = Field(gt=0, le=1)
    attacks: tuple[str, ...] = ()
    keeps: float = Field(default=0.5, gt=0, le=1)
    iid: bool = False


class Card(Numbers):
    """A validated card; `name` is that of its file."""

    model_config = STRICT

    name: str
    title: str
    paper: str
    where: str  # in the paper, or in the authors' code
    says: str  # in our words
    source_read: str  # what was at hand when the card was written
    theirs: str = ""  # the numbers that they print
    scaled_down: str = ""  # what the setting is less than the paper's
    unplayable: str = ""  # why there is nothing to play
    suite: Parameters | None = None  # a suite file without name and title
    statement: tuple[Statement, ...] = ()
    withstands: Withstands | None = None

    @field_validator("name")
    @classmethod
    def _name_of_a_file(cls, value: str) -> str:
        if not NAME.fullmatch(value):
            raise ValueError(f"card name {value!r} will not do: take small letters, digits and single dashes")
        return value

    @field_validator("title", "paper", "where", "says", "source_read")
    @classmethod
    def _says_something(cls, value: str) -> str:
        if not value.strip():
            raise ValueError("is empty, but must say something")
        return value

    @model_validator(mode="after")
    def _is_played_or_says_why_not(self) -> "Card":
        played = self.suite is not None and bool(self.statement)
        if self.is_read and not self.unplayable and not played:
            raise ValueError("give a [suite] and a [[statement]], or say in unplayable why there is nothing to play")
        if (self.unplayable or not self.is_read) and (self.suite is not None or self.statement or self.withstands):
            why = "unplayable" if self.unplayable else f'source_read = "{UNREAD}"'
            raise ValueError(f"{why} leaves nothing to judge: take out [suite], [[statement]] and [withstands]")
        if not self.is_read and self.theirs:
            raise ValueError(f'theirs has numbers of a source that nobody read (source_read = "{UNREAD}")')
        return self

    @property
    def is_read(self) -> bool:
        """Whether the paper's text or its authors' code was at hand."""
        return self.source_read != UNREAD

    @property
    def is_played(self) -> bool:
        return self.suite is not None

    @cached_property
    def cells_suite(self) -> Suite:
        """The suite of its cells, whose records lie in `claims/NAME`; `BadInputError` where it is none."""
        try:
            return Suite(**{**(self.suite or {}), "name": f"{FOLDER}/{self.name}", "title": self.title})
        except ValidationError as error:
            raise BadInputError(f"claim card {self.name}: suite.{explain(error)}") from None


def read(path: Path) -> Card:
    """The card in a TOML file; `BadInputError` with one line for whatever is wrong with it."""
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise BadInputError(f"cannot read claim card {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInputError(f"claim card {path} is not valid TOML: {error}") from None
    except RecursionError:
        raise BadInputError(f"claim card {path} is not valid TOML: its arrays or tables are nested too deep") from None
    if given := {"name", "title"} & set(content.get("suite") or {}):
        raise BadInputError(f"claim card {path}: suite.{min(given)}: a card's suite is called as the card is")
    try:
        card = Card(**{**content, "name": path.stem})
    except ValidationError as error:
        raise BadInputError(f"claim card {path}: {explain(error)}") from None
    if card.is_played:
        _ = card.cells_suite
    return card


def folder() -> Path:
    """Where the published cards lie: beside the code, else here; an installed wheel has none."""
    beside = places.BESIDE_THE_CODE / FOLDER
    return beside if beside.is_dir() else places.PUBLISHED / FOLDER


def published() -> dict[str, Card]:
    """All published cards by name, in the order of their names."""
    return {path.stem: read(path) for path in sorted(folder().glob("*.toml"))}


def choose(names: list[str]) -> list[Card]:
    """The cards of these names or files, all published ones without a name; `BadInputError` for what is neither."""
    known = published()
    if not names:
        return list(known.values())
    results = []
    for name in names:
        if Path(name).suffix == ".toml":
            results.append(read(Path(name)))
        elif name in known:
            results.append(known[name])
        else:
            raise BadInputError(unknown("claim card", name, known))
    return list({card.name: card for card in results}.values())
