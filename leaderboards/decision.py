"""Which rule for whom: each situation is a filter on defenses and settings, and a score; the rows are the boards'."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import pandas as pd

from bench import registry
from bench.base.names import counted
from bench.federation.settings import FederationSettings
from bench.plays.findings import build_defense
from bench.protocol import Alphabet, Defense
from bench.suite import Cell, Suite
from leaderboards.board import LONG_FORMAT, Leaderboard
from leaderboards.estimates import MISSING, Estimate, Estimates
from leaderboards.frame import CLEAN, by_attack
from leaderboards.html.leads import estimates_of
from leaderboards.overall import BACKDOOR_SHARE, BROKEN_SHARE, LEAKING_SHARE

METRICS = {"robustness": "accuracy", "backdoor": "backdoor_success", "privacy": "recovered"}
"""The metric of each board that a situation may ask for."""
NEAR = 0.1
"""A rule that is further from the best is no alternative, however wide its interval is."""
NAMED = 2
"""Rules named beside the first, which its interval does not tell from it."""
SKEWED = 2.0
"""Dirichlet parameters up to this one, over ten classes, make clients that lack most of them."""
FACTOR = "factor-"
"""How the names of the boards of factors begin."""


@dataclass(frozen=True)
class Measured:
    """A suite's numbers in the long format, and the cells that they are of."""

    suite: str
    data: pd.DataFrame
    of: Sequence[Cell]
    level: str = ""  # of a factor, such as "participation: 0.1"

    @classmethod
    def from_leaderboard(cls, leaderboard: Leaderboard) -> Self:
        return cls(leaderboard.suite, _numbers(leaderboard), _base(record.cell for record in leaderboard.evidence))

    @classmethod
    def published(cls, suite: Suite, results: Path) -> Self:
        """From the suite's leaderboard.csv, in which numbers have six digits; `OSError` where there is none."""
        return cls(suite.name, pd.read_csv(results / suite.name / "leaderboard.csv"), _base(suite.cells()))

    @classmethod
    def levels(cls, suite: Suite, numbers: Leaderboard | Path) -> list[Self]:
        """A suite at each level of its factors, as if that were one with a board of robustness alone.

        `numbers` are its leaderboard, or the folder in which its leaderboard.csv lies.
        """
        if not suite.factor:
            return []
        data = pd.read_csv(numbers / "leaderboard.csv") if isinstance(numbers, Path) else _numbers(numbers)
        data = data[data["board"].str.startswith(FACTOR) & (data["metric"] == "accuracy")]
        results = []
        for level in dict.fromkeys(cell.level for cell in suite.cells() if cell.level):
            ending = f" [{level}]"
            mine = data[data["column"].str.endswith(ending)]
            columns = mine["column"].str.removesuffix(ending)
            cells = [cell.model_copy(update={"level": ""}) for cell in suite.cells() if cell.level == level]
            results.append(cls(suite.name, mine.assign(board="robustness", column=columns), cells, level))
        return [one for one in results if len(one.data)]

    @cached_property
    def found(self) -> dict[str, Estimates]:
        """By board, its metric's estimates."""
        boards = {name: self.data[self.data["board"] == name] for name in METRICS}
        return {name: estimates_of(boards[name], metric) for name, metric in METRICS.items()}

    @cached_property
    def cells(self) -> dict[str, Cell]:
        """A cell of each column."""
        return {cell.column: cell for cell in self.of}

    @cached_property
    def defenses(self) -> dict[str, Defense]:
        """The rows whose rule ships, in the order of the cells."""
        shipped = set(registry.names("defense"))
        cells = {cell.label: cell for cell in self.of if not cell.loaded and cell.defense.name in shipped}
        return {row: build_defense(cell) for row, cell in cells.items()}

    @property
    def federation(self) -> FederationSettings:
        """Of what is trained, where anything is."""
        return min(self.of, key=lambda cell: cell.kind != "training").federation

    @property
    def repeats(self) -> bool:
        """Whether its numbers are means over several seeds, so that they have intervals."""
        return bool((self.data["seeds"] > 1).any())

    def peers(self, row: str) -> bool:
        """Whether its clients send each other something."""
        data = self.data
        return bool((data.loc[(data["metric"] == "peer_bytes") & (data["defense"] == row), "mean"] > 0).any())

    def clean(self, row: str) -> float:
        return self.found.get("robustness", {}).get((row, CLEAN), MISSING).score

    @cached_property
    def best_clean(self) -> float:
        return max(filter(math.isfinite, map(self.clean, self.defenses)), default=math.nan)

    def columns(self, board: str, most: float | None = None) -> list[str]:
        """The attacked columns of a board, of at most this Byzantine share.

        Accuracy after the attackers have left says nothing of robustness.
        """
        measured = {column for (_, column), value in self.found.get(board, {}).items() if value.seeds or value.failed}
        there = [column for column in self.cells if column in measured and column != CLEAN]
        if board == "robustness":
            there = [column for column in there if self.cells[column].stop is None]
        return [column for column in there if most is None or self.cells[column].byzantine <= most]

    def worst(self, board: str, row: str, columns: Iterable[str]) -> tuple[Estimate, str]:
        """The row's worst estimate in some columns, and where; none where one is missing."""
        sign = -1 if board == "robustness" else 1
        values = {column: self.found.get(board, {}).get((row, column), MISSING) for column in columns}
        if not values or any(math.isnan(value.score) for value in values.values()):
            return MISSING, ""
        where = max(sorted(values), key=lambda column: sign * values[column].score)
        return values[where], where


def _numbers(leaderboard: Leaderboard) -> pd.DataFrame:
    """Of all boards, in the long format."""
    filled = [board.data for board in leaderboard.boards if len(board.data)]
    return pd.concat(filled, ignore_index=True) if filled else pd.DataFrame(columns=list(LONG_FORMAT))


def _base(cells: Iterable[Cell]) -> list[Cell]:
    """Those of a suite's base case: where a factor is at another level, the federation is another one."""
    return [cell for cell in cells if not cell.level]


@dataclass(frozen=True)
class Situation:
    """What somebody has before them: the board that ranks, up to which Byzantine share, and what must be so.

    `fits` says which defenses are possible there, `suits` on which federations it is measured, `limits` which boards a
    rule must withstand before it is ranked.
    """

    said: str
    board: str
    share: float | None = None
    fits: Callable[[Defense], bool] = lambda defense: True
    suits: Callable[[FederationSettings], bool] = lambda federation: True
    limits: tuple[str, ...] = ()


@dataclass(frozen=True)
class Choice:
    """The answer to a situation, in words; without a suite where no published board measures it.

    `holds` says whether the rule is not broken there: where it is, it is only the least bad.
    """

    situation: str
    suite: str = ""
    level: str = ""  # of a factor of the suite
    row: str = ""
    holds: bool = False
    alike: tuple[str, ...] = ()
    worst: str = ""
    cost: str = ""
    breaks: str = ""


def _plain(federation: FederationSettings) -> bool:
    return federation.participation == 1


def _is_skewed(federation: FederationSettings) -> bool:
    return _plain(federation) and (
        (federation.partition == "dirichlet" and federation.alpha <= SKEWED) or federation.partition == "sorted"
    )


SITUATIONS = (
    Situation(
        "A fifth of the clients attack; the server has some clean images",
        "robustness",
        0.2,
        suits=_plain,
    ),
    Situation(
        "A fifth attack; the server has no images",
        "robustness",
        0.2,
        fits=lambda defense: not defense.num_root_samples(),
        suits=_plain,
    ),
    Situation(
        "A fifth attack, and most clients lack most classes",
        "robustness",
        0.2,
        fits=lambda defense: not defense.num_root_samples(),
        suits=_is_skewed,
    ),
    Situation("Two fifths attack, and most clients lack most classes", "robustness", 0.4, suits=_is_skewed),
    Situation("A fifth plant a backdoor", "backdoor", 0.2, suits=_plain, limits=("robustness",)),
    Situation(
        "A fifth plant a backdoor, and few of the clients take part in each round",
        "backdoor",
        0.2,
        suits=lambda one: one.participation < 1,
    ),
    Situation("The server is curious, the clients are honest", "privacy", suits=_plain),
    Situation("The server is curious, and a fifth attack", "robustness", 0.2, suits=_plain, limits=("privacy",)),
    Situation("A few of the clients take part in each round", "robustness", suits=lambda one: one.participation < 1),
    Situation("Clients differ in how much they hold", "robustness", suits=lambda one: one.sizes != "equal"),
)
"""What people ask for; a situation that no published board measures says so."""


def decide(situations: Iterable[Situation], boards: Iterable[Measured]) -> list[Choice]:
    """A rule for each situation, from the board that compares most rules in it.

    A board whose rows are all of one defense with other parameters, as at several epsilons, is no choice between rules.
    """
    boards = [one for one in boards if len({cell.defense.name for cell in one.of}) != 1 or len(one.defenses) == 1]
    boards = [one for one in boards if one.of]
    return [_choice(situation, boards) for situation in situations]


def _choice(situation: Situation, boards: Sequence[Measured]) -> Choice:
    """From the board that compares most rules, then under most attacks; one of a single seed where no other is."""
    able = [board for board in boards if _measures(situation, board) and _compared(situation, board)]
    board = max(able, key=lambda one: (one.repeats, len(_compared(situation, one)), len(one.cells)), default=None)
    if board is None:
        return Choice(situation.said)
    rows = _ranked(situation, board)
    if not rows:
        return Choice(situation.said, board.suite, board.level)
    best, columns = rows[0], board.columns(situation.board, situation.share)
    value, where = board.worst(situation.board, best, columns)
    same = len({board.worst(situation.board, best, [column])[0].score for column in columns}) == 1 < len(columns)
    return Choice(
        situation.said,
        board.suite,
        board.level,
        best,
        holds=_holds(situation.board, value, board.clean(best)),
        alike=tuple(row for row in rows[1:] if _reaches(situation.board, board, row, best, columns)),
        worst=f"{_said(situation.board, value)} ({'every attack' if same else f'`{where}`'})",
        cost=_cost(best, board),
        breaks=_breaks(best, board),
    )


def _measures(situation: Situation, board: Measured) -> bool:
    """Whether it is of such federations, and attacked by as many clients."""
    shares = [board.cells[column].byzantine for column in board.columns(situation.board)]
    return situation.suits(board.federation) and max(shares, default=0.0) >= (situation.share or 0.0)


def _compared(situation: Situation, board: Measured) -> list[str]:
    """The rows that are possible there and measured: without an attack, and on every board that is asked for."""
    asked = [(name, board.columns(name, situation.share)) for name in (situation.board, *situation.limits)]
    return [
        row
        for row, defense in board.defenses.items()
        if situation.fits(defense)
        and math.isfinite(board.clean(row))
        and all(board.worst(name, row, columns)[1] for name, columns in asked)
    ]


def _ranked(situation: Situation, board: Measured) -> list[str]:
    """Those that are worth having, the best first: they work without an attack, and withstand what is asked beside."""
    columns = board.columns(situation.board, situation.share)
    sign = -1 if situation.board == "robustness" else 1
    keys = {
        row: (sign * board.worst(situation.board, row, columns)[0].score, -board.clean(row))
        for row in _compared(situation, board)
        if board.clean(row) >= BROKEN_SHARE * board.best_clean
        and all(_withstands(limit, situation, board, row) for limit in situation.limits)
    }
    return sorted(keys, key=lambda row: keys[row])


def _withstands(limit: str, situation: Situation, board: Measured, row: str) -> bool:
    value, where = board.worst(limit, row, board.columns(limit, situation.share))
    return bool(where) and _holds(limit, value, board.clean(row))


def _holds(board: str, value: Estimate, clean: float) -> bool:
    """As the overall board judges what breaks a row."""
    if board == "robustness":
        return value.score >= BROKEN_SHARE * clean
    return value.score < (BACKDOOR_SHARE if board == "backdoor" else LEAKING_SHARE)


def _reaches(name: str, board: Measured, row: str, best: str, columns: list[str]) -> bool:
    """Whether the row's worst case is near that of the best, and its interval overlaps that one's."""
    mine, leading = (board.worst(name, one, columns)[0] for one in (row, best))
    (low, high), (least, most) = mine.ends, leading.ends
    return high >= least and low <= most and abs(mine.score - leading.score) <= NEAR


def _said(board: str, value: Estimate) -> str:
    text = value.share() if board == "privacy" else f"{value.text().removesuffix(' †')} %"
    return {"robustness": text, "backdoor": f"trigger works on {text}", "privacy": f"{text} of images"}[board]


def _cost(row: str, board: Measured) -> str:
    """Clean accuracy that it gives up, and what it needs."""
    defense = board.defenses[row]
    lost = 100 * (board.best_clean - board.clean(row))
    told = [f"{lost:.1f} points of clean accuracy" if lost >= 0.05 else "no clean accuracy"]
    if images := defense.num_root_samples():
        told.append(f"{images} images at the server")
    if board.peers(row):
        told.append("messages between clients")
    if defense.alphabet is Alphabet.TERNARY:
        told.append("uploads a sixteenth of the bytes")
    return ", ".join(told)


def _breaks(row: str, board: Measured) -> str:
    """All that breaks it on this board, whatever the situation; and that it hides nothing, where nobody measured it."""
    clean, told = board.clean(row), []
    for name in METRICS:
        values = {column: board.worst(name, row, [column])[0] for column in board.columns(name)}
        known = {column: value for column, value in values.items() if not math.isnan(value.score)}
        broken = {column: value for column, value in known.items() if not _holds(name, value, clean)}
        if name == "privacy" and known:
            told += ["every privacy attack"] if len(broken) == len(known) else _names(broken)
        elif name == "backdoor" and broken:
            told.append(f"backdoors ({max(value.score for value in broken.values()):.0%})")
        else:
            told += _names(broken)
    if not board.columns("privacy") and not type(board.defenses[row]).claims_privacy():
        told.append("a curious server")
    return ", ".join(told) or "nothing here"


def _names(broken: Mapping[str, Estimate]) -> list[str]:
    """An attack with one column by it, else with how many."""
    columns = by_attack(broken).items()
    return [f"`{mine[0]}`" if len(mine) == 1 else f"`{attack}` in {len(mine)} forms" for attack, mine in columns]


def markdown(choices: Iterable[Choice], results: str) -> str:
    """The table; `results` is the way from the page to the folder of the boards."""
    head = ("your situation", "use", "worst case", "what it costs", "what breaks it")
    rows = [head, tuple(":--" for _ in head), *(_line(choice, results) for choice in choices)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _line(choice: Choice, results: str) -> tuple[str, ...]:
    if not choice.suite:
        return choice.situation, "not measured yet", "", "", ""
    board = f"[{choice.suite}]({results}/{choice.suite}/leaderboard.md)"
    board += f" at {choice.level}" if choice.level else ""
    if not choice.row:
        return choice.situation, "none of those measured", board, "", ""
    rule = choice.row.split(" + ")[-1].split(" ")[0]
    linked = f"[{choice.row}]({results.removesuffix('results')}docs/defenses.md#{rule})"
    used = use(choice).replace(choice.row, linked, 1)
    return choice.situation, used, f"{choice.worst}, {board}", choice.cost, choice.breaks


def use(choice: Choice) -> str:
    """The rule's name, or that none holds; behind "or" those that its interval does not tell from it."""
    if not choice.holds:
        return f"none holds; the least bad is {choice.row}"
    if not choice.alike:
        return f"**{choice.row}**"
    more = len(choice.alike) - NAMED
    others = ", ".join(choice.alike[:NAMED]) + (f" and {counted(more, 'other')}" if more > 0 else "")
    return f"**{choice.row}**, or {others}"
