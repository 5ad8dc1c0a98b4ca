"""The verdict on a card: a function of measured differences, of the card, and of what published boards refute."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from bench.reproduce.cards.card import Card, Statement
from leaderboards.estimates import MISSING, Estimate, of_values

RULE = """A statement is a difference of measured numbers, taken seed by seed, and a bound. It *holds* where the whole
95 % t interval of the difference is on the bound's right side, it *fails* where the whole interval is on the wrong
side, and it is *open* in between, with fewer than two seeds, or where a seed failed. The accuracy of a run that
diverged is 0.

- **held**: every statement holds, the setting is the paper's, and ours is within the tolerance of every number that the
  card has of theirs.
- **held in shape**: every statement holds, but the setting is scaled down, or a number differs.
- **not reproduced**: a statement fails in the paper's setting; **not in shape**: one fails in a setting scaled down.
- **inconclusive**: none fails, and one at least is open.
- **refuted by ATTACK (record)**: the card says that a rule withstands a class of attacks up to a Byzantine fraction, no
  statement of its own fails, and a published record in a comparable setting breaks the rule. Comparable is a board's
  training of the same rule with the same parameters, by an attack of that class, with at most that share of Byzantine
  clients, within what the rule itself claims to stand, with at least three seeds, and on alike clients where the claim
  is about these. It breaks the rule where the 95 % t interval of its accuracy minus the share of the clean accuracy
  that the card says is kept lies below 0.
- **cannot be played (why)**: what the claim is about is not here, or takes too long; the reason says which.
- **cannot be judged: text not at hand**: neither the paper's text nor its authors' code was read.
"""


class Verdict(StrEnum):
    """What the rule makes of a card."""

    HELD = "held"
    SHAPE = "held in shape"
    NOT = "not reproduced"
    NOT_IN_SHAPE = "not in shape"
    OPEN = "inconclusive"
    REFUTED = "refuted"
    UNPLAYABLE = "cannot be played"
    UNREAD = "cannot be judged: text not at hand"
    PENDING = "not played yet"


class Answer(StrEnum):
    """Of a statement."""

    HOLDS = "holds"
    FAILS = "fails"
    OPEN = "open"


@dataclass(frozen=True)
class Measured:
    """A statement's differences `(k,)`, one a seed, in fractions; `failed` seeds have none."""

    statement: Statement
    values: tuple[float, ...]
    failed: int = 0

    @property
    def estimate(self) -> Estimate:
        """Their mean and 95 % t interval, which ends at 0 and 1 where there is nothing to subtract."""
        alone = self.statement.right is None and self.statement.left.times == 1
        metric = self.statement.metric if alone else "difference"
        return of_values(np.array(self.values, dtype=float), metric) if self.values else MISSING

    @property
    def answer(self) -> Answer:
        result = self.estimate
        if self.failed or len(self.values) < 2:
            return Answer.OPEN
        low, high = result.ends
        least, most = self.statement.at_least, self.statement.at_most
        if (least is not None and low >= least) or (most is not None and high <= most):
            return Answer.HOLDS
        if (least is not None and high < least) or (most is not None and low > most):
            return Answer.FAILS
        return Answer.OPEN

    @property
    def has_their_number(self) -> bool:
        """Whether ours is within the tolerance of the paper's; true where it prints none."""
        theirs, tolerance = self.statement.theirs, self.statement.tolerance
        return theirs is None or tolerance is None or abs(self.estimate.mean - theirs) <= tolerance

    def text(self) -> str:
        """`12.3 [10.1, 14.5]` in points."""
        result = self.estimate
        if math.isnan(result.mean):
            return "–"
        low, high = result.ends
        return f"{100 * result.mean:z.1f} [{100 * low:z.1f}, {100 * high:z.1f}]"


@dataclass(frozen=True)
class Refutation:
    """A published cell that breaks the rule of a card."""

    column: str
    board: str
    record: str  # one of its records, below the results folder
    left: float  # mean accuracy under the attack
    clean: float

    def text(self) -> str:
        return f"{self.column} leaves {self.left:.1%} of {self.clean:.1%} on the board {self.board} ({self.record})"


@dataclass(frozen=True)
class Judged:
    """A verdict and its reason, in one sentence."""

    verdict: Verdict
    reason: str
    record: str = ""  # of a refutation
    attack: str = ""

    def __str__(self) -> str:
        """As the page has it."""
        return f"refuted by {self.attack}" if self.verdict is Verdict.REFUTED else str(self.verdict)


def judge(card: Card, measured: Sequence[Measured] | None, refuted: Refutation | None = None) -> Judged:
    """The verdict by `RULE`; `measured` is None where a cell has no record yet."""
    if not card.is_read:
        return Judged(Verdict.UNREAD, "neither the paper's text nor its authors' code was read")
    if card.unplayable:
        return Judged(Verdict.UNPLAYABLE, card.unplayable)
    if measured is None:
        return Judged(Verdict.PENDING, f"`python -m bench claims {card.name}`")
    failed = [one for one in measured if one.answer is Answer.FAILS]
    unsure = [one for one in measured if one.answer is Answer.OPEN]
    if failed:
        verdict = Verdict.NOT_IN_SHAPE if card.scaled_down else Verdict.NOT
        return Judged(verdict, _told("fails", failed))
    if refuted is not None:
        return Judged(Verdict.REFUTED, refuted.text(), refuted.record, refuted.column)
    if unsure:
        return Judged(Verdict.OPEN, _told("is open", unsure))
    others = [one for one in measured if not one.has_their_number]
    if others:
        return Judged(Verdict.SHAPE, f"every statement holds; theirs is another number: {_numbers(others)}")
    if card.scaled_down:
        return Judged(Verdict.SHAPE, "every statement holds, in a setting scaled down")
    return Judged(Verdict.HELD, "every statement holds, in the paper's setting")


def _told(what: str, some: Sequence[Measured]) -> str:
    """Each statement that fails or is open, with its number in points."""
    parts = [f"{one.statement.text}: {one.text()}, wanted {one.statement.bound}{_seeds(one)}" for one in some]
    return f"{what}: {'; '.join(parts)}"


def _seeds(one: Measured) -> str:
    return f", {one.failed} seeds failed" if one.failed else ""


def _numbers(some: Sequence[Measured]) -> str:
    parts = [f"{100 * one.estimate.mean:z.1f}, not {100 * (one.statement.theirs or 0):z.1f}" for one in some]
    return "; ".join(parts)
