"""What an item is: a table, figure or theorem of a paper, what its evidence is made of, and how it is judged."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Literal

from bench.reproduce.evidence import Evidence
from bench.reproduce.measurements import Experiment

Paper = Literal["niss", "dpbfl"]
Line = dict[str, str]
Number = dict[str, Any]


class Verdict(StrEnum):
    """What a rule makes of the records."""

    REPRODUCED = "reproduced"
    SHAPE = "reproduced in shape"
    NOT = "not reproduced"
    INFEASIBLE = "infeasible as stated"
    PENDING = "not run yet"


@dataclass(frozen=True)
class Judged:
    """A verdict and its reason, in one sentence."""

    verdict: Verdict
    reason: str


@dataclass(frozen=True)
class Statement:
    """What a paper says in words, whether our records say so too, and what they say."""

    text: str
    holds: bool
    found: str


def judge(statements: Sequence[Statement]) -> Judged:
    """The rule of figures without printed numbers: in shape where every statement holds, else not reproduced."""
    failed = [statement for statement in statements if not statement.holds]
    if not failed:
        return Judged(Verdict.SHAPE, f"all {len(statements)} statements hold")
    text = "; ".join(f"not so: {one.text} ({one.found})" for one in failed)
    return Judged(Verdict.NOT, f"{len(statements) - len(failed)} of {len(statements)} statements hold; {text}")


@dataclass(frozen=True)
class Form:
    """One way to get an item's evidence: suites under `bench/suite/shipped/papers`, and experiments.

    `name` says what it is less than the paper's; the first form of an item is the full one. `heavy` forms run only when
    asked for. `probe` changes federations so that a round of one can be timed here; the rest is scaled up. `needs` is
    what else a machine must have for it.
    """

    name: str
    suites: tuple[str, ...] = ()
    experiments: tuple[Experiment, ...] = ()
    heavy: bool = False
    probe: Mapping[str, int] = field(default_factory=dict)
    needs: str = ""


@dataclass(frozen=True)
class Exhibit:
    """What an item's evidence shows: a sentence, a table for people, its numbers, a plot, and the verdict."""

    measured: str
    settings: str
    judged: Judged
    lines: Sequence[Line]
    numbers: Sequence[Number]
    plot: Callable[[], bytes] | None = None
    more: Mapping[str, Callable[[], bytes]] = field(default_factory=dict)  # further plots, by what they show
    caption: str = ""


@dataclass(frozen=True)
class Item:
    """An entry of the report. `rule` says in words what `build` does in code."""

    id: str
    paper: Paper
    title: str
    rule: str
    forms: tuple[Form, ...]
    build: Callable[[Evidence], Exhibit]

    @property
    def name(self) -> str:
        """Without the paper's name in front."""
        return self.id.removeprefix(f"{self.paper}-")


def statement_lines(statements: Iterable[Statement]) -> list[Line]:
    """The statements as rows of a table."""
    return [
        {"the paper says": one.text, "holds": "yes" if one.holds else "no", "we measured": one.found}
        for one in statements
    ]
