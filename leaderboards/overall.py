"""The overall board: a rank in each of the others, who is on the Pareto front, and what breaks whom; no mixed score."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from leaderboards.audits import Audits
from leaderboards.board import UNRANKED, Board, Number, make_board
from leaderboards.chance import Floors, is_worthless
from leaderboards.estimates import MISSING, Estimates
from leaderboards.frame import CLEAN, by_attack

BROKEN_SHARE = 0.5
"""An attack breaks a defense when it takes this share of the accuracy that the clean run had."""
BACKDOOR_SHARE = 0.5
"""A backdoor breaks a defense when this share of the images with its trigger gets the attackers' answer."""
MANY = 3
LEAKING_SHARE = 0.1
"""A defense leaks where at least this share of the images is recovered."""
MEMBERS_SHARE = 0.1
"""Members are found where this share of them is, at 1 % false positives: ten times what a guess finds."""
LABELS_SHARE = 0.5
"""Labels are told where an attack explains this share of what a blind guess misses."""


@dataclass(frozen=True)
class Axis:
    """A ranked board on the overall one: how its score is written, and whether a high one is good (1) or bad (-1)."""

    form: str
    sign: int = 1


AXES = {
    "robustness": Axis("worst {}"),
    "privacy": Axis("worst {} recovered", sign=-1),
    "utility": Axis("clean {}"),
}
CAPTION = (
    "Rows that the seeds do not tell apart share a rank; the boards below have the ranks that each may have. "
    "Pareto: no other defense is at least as good in worst-case accuracy, in worst-case share of images recovered "
    "and in clean accuracy, and better in one; what no attack measured does not count, nor does a row whose clean run "
    "failed or is at chance, and where that is so of all rows there is no rank and no front. An attack breaks a "
    "defense when it halves the accuracy of its clean run or takes it to chance; a backdoor, when at least half of "
    "the images with its trigger get the attackers' answer; a defense leaks where one image in ten or more is "
    "recovered; members are found where an attack finds one in ten at 1 % false positives; labels are told where an "
    "attack explains half of what a blind guess misses; its clean accuracy is low where it is less than half of the "
    "best; a privacy claim is broken where an audit proves more than is claimed, at a threat model that the claim is "
    "meant for."
)
PROBES = ("attacks on accuracy", "backdoors", "audits of privacy claims")
"""What a suite may measure of a row besides its clean run."""


@dataclass(frozen=True)
class Learned:
    """What a kind of attack learns of clients, by row and column, and from which share on it counts."""

    name: str
    shares: Estimates
    least: float
    verdict: str  # of the columns that learn so much
    all: str  # what stands for them where they are all of several

    def of(self, row: str, columns: list[str]) -> list[str]:
        """One line with the columns that learn enough of the row, or none."""
        tried = [column for column in columns if (row, column) in self.shares]
        enough = [column for column in tried if self.shares[row, column].mean >= self.least]
        if len(enough) > 1 and enough == tried:
            return [self.verdict.format(self.all)]
        return [self.verdict.format(", ".join(_in_short(enough, tried)))] if enough else []


def learned(images: Estimates, members: Estimates, labels: Estimates) -> tuple[Learned, ...]:
    """From the shares of images recovered, of members found at 1 % false positives, of labels explained."""
    return (
        Learned("inversions", images, LEAKING_SHARE, "leaks to {}", "every privacy attack"),
        Learned("membership inference", members, MEMBERS_SHARE, "members found by {}", "every membership attack"),
        Learned("label inference", labels, LABELS_SHARE, "labels told to {}", "every label attack"),
    )


@dataclass(frozen=True)
class Measured:
    """What was found of all rows: the estimates of accuracy and success of triggers, what is learned, and the audits.

    `chance` is the accuracy up to which a row's model is worthless.
    """

    accuracy: Estimates
    backdoors: Estimates
    learned: tuple[Learned, ...]
    audits: Audits
    chance: Floors

    def has(self, row: str, column: str) -> bool:
        """Whether something came of this place, were it a failure under attack."""
        trained = self.accuracy.get((row, column), MISSING)
        result = trained.failed or trained.seeds or (row, column) in self.audits
        return bool(result) or any(one.shares.get((row, column), MISSING).seeds for one in self.learned)

    def lacks(self) -> list[str]:
        """What nobody was put to."""
        attacked = any(column != CLEAN for _, column in self.accuracy)
        tried = (attacked, any(one.seeds for one in self.backdoors.values()), bool(self.audits))
        lacking = [name for name, done in zip(PROBES, tried, strict=True) if not done]
        return lacking + [one.name for one in self.learned if not one.shares]


def overall_board(
    rows: list[str],
    columns: list[str],
    ranked: Iterable[Board],
    measured: Measured,
    expects: Callable[[str, str], bool],
) -> Board:
    """The ranks of the `ranked` boards that have any; the Pareto front first, then in the order of the first board.

    A board with scores of some rows alone, because nothing but an evaluation of theirs is on it, orders nothing, nor
    does one without a rank. `expects` says which row should have been measured in which column.
    """
    boards = {board.name: board for board in ranked if any(map(math.isfinite, board.standing.scores.values()))}
    shared = {
        name: board
        for name, board in boards.items()
        if set(rows) <= set(board.standing.scores) and board.standing.orders
    }
    unranked = {row for board in shared.values() for row, rank in board.standing.ranks.items() if rank is None}
    beside = unranked | {row for row in rows if _is_worthless(row, measured)}
    front = pareto_front(_points([row for row in rows if row not in beside], shared)) if len(shared) > 1 else set()
    lines = [
        {
            "defense": row,
            **{name: _place(board, row) for name, board in boards.items()},
            **({"Pareto": "yes" if row in front else ""} if front else {}),
            "what breaks it": _verdict(row, rows, columns, measured, expects),
        }
        for row in rows
    ]
    first = next(iter(shared.values())).standing if shared else UNRANKED
    lines.sort(key=lambda line: (line["defense"] not in front, first.place(line["defense"])))
    numbers = [Number(row, None, "pareto", float(row in front)) for row in rows if front]
    lacks = f" Nothing here measures {_or(measured.lacks())}." if measured.lacks() else ""
    return make_board("overall", "Overall: a rank in each, no mixed score", CAPTION + lacks, lines, numbers)


def pareto_front(points: Mapping[str, tuple[float, ...]]) -> set[str]:
    """The names whose point no other one dominates, higher being better; points with a nan are not on it."""
    whole = {name: point for name, point in points.items() if not any(map(math.isnan, point))}
    return {name for name, point in whole.items() if not any(_dominates(other, point) for other in whole.values())}


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(mine >= theirs for mine, theirs in zip(one, other, strict=True))


def _points(rows: list[str], boards: Mapping[str, Board]) -> dict[str, tuple[float, ...]]:
    """Each row's scores, higher being better."""
    return {
        row: tuple(round(AXES[name].sign * board.standing.scores[row], 6) for name, board in boards.items())
        for row in rows
    }


def _place(board: Board, row: str) -> str:
    """`2 (worst 54.1%)`."""
    score = board.standing.scores.get(row, math.nan)
    if math.isnan(score):
        return "–"
    return f"{board.standing.ranks[row] or '–'} ({AXES[board.name].form.format(board.standing.texts[row])})"


def _verdict(
    row: str, rows: list[str], columns: list[str], measured: Measured, expects: Callable[[str, str], bool]
) -> str:
    """All that breaks the row, or that nothing here does, and what of it was not measured."""
    broken = _broken_by(row, columns, measured, _best_clean(rows, measured))
    broken += [line for one in measured.learned for line in one.of(row, columns)] + _refuted(row, measured.audits)
    expected = [column for column in columns if expects(row, column)]
    missing = _in_short([column for column in expected if not measured.has(row, column)], expected)
    told = "; ".join(broken) or "nothing here"
    return told + (f"; not measured: {', '.join(missing)}" if missing else "")


def _best_clean(rows: list[str], measured: Measured) -> float:
    clean = (measured.accuracy.get((row, CLEAN), MISSING).mean for row in rows)
    return max(filter(math.isfinite, clean), default=math.nan)


def _is_worthless(row: str, measured: Measured) -> bool:
    return is_worthless(measured.accuracy.get((row, CLEAN), MISSING), measured.chance[row])


def _broken_by(row: str, columns: list[str], measured: Measured, best_clean: float) -> list[str]:
    """What is wrong with the row's clean run, and the attacks that break it, where there is accuracy to break."""
    accuracy, chance = measured.accuracy, measured.chance[row]
    clean = accuracy.get((row, CLEAN), MISSING)
    result = ["clean run failed"] if clean.failed else []
    attacked = {column: accuracy.get((row, column), MISSING) for column in columns if column != CLEAN}
    if clean.mean <= chance:
        result.append("clean accuracy at chance")
    elif clean.mean < BROKEN_SHARE * best_clean:
        result.append("low clean accuracy")
    else:
        low = max(BROKEN_SHARE * clean.mean, chance)
        broken = [column for column, value in attacked.items() if value.failed or value.mean < low]
        result += _in_short(broken, list(attacked))
    return result + _backdoored(row, columns, measured.backdoors)


def _backdoored(row: str, columns: list[str], backdoors: Estimates) -> list[str]:
    """The columns whose trigger works, with how often."""
    tried = {column: backdoors.get((row, column), MISSING).mean for column in columns}
    return [f"{column} works on {share:.0%}" for column, share in tried.items() if share >= BACKDOOR_SHARE]


def _in_short(found: list[str], tried: list[str]) -> list[str]:
    """The columns, but one name for an attack of which all columns are there, and there are many."""
    short: list[str] = []
    for attack, columns in by_attack(tried).items():
        mine = [column for column in columns if column in found]
        short += [f"every {attack}"] if mine == columns and len(mine) >= MANY else mine
    return short


def _refuted(row: str, audits: Audits) -> list[str]:
    """The audits that break the row's privacy claim where it is meant to hold."""
    columns = [column for (name, column), audit in audits.items() if name == row and audit.breaks]
    return [f"privacy claim broken by {', '.join(columns)}"] if columns else []


def _or(names: list[str]) -> str:
    """`a, b or c`."""
    return " or ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)
