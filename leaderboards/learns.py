"""What who learns: for each defense and attacker, in plain words, from what the published boards measured."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache

from bench import registry
from bench.suite import Cell
from bench.threat import MembershipAttack, PrivacyAttack
from leaderboards.decision import Measured
from leaderboards.estimates import Estimate
from leaderboards.html.leads import estimates_of
from leaderboards.overall import LEAKING_SHARE

SUITES = ("digits", "membership", "malicious-server")
"""The boards that are read: images by a server, who was in it, images by a server that deviates."""
HALF = 0.5
"""The largest share of colluders of the third attacker."""

Attack = PrivacyAttack | MembershipAttack
WHO: Mapping[str, Callable[[Attack], bool]] = {
    "another client": lambda attack: _sees_models_alone(attack),
    "the server": lambda attack: _looks(attack) and attack.collusion() == 0,
    "the server and half of the clients": lambda attack: _looks(attack) and 0 < attack.collusion() <= HALF,
    "the server and all others": lambda attack: _looks(attack) and attack.collusion() == 1,
    "a server that sends its own model": lambda attack: isinstance(attack, PrivacyAttack) and attack.deviates,
}
"""Attackers, and which attacks are theirs; each of them may also do what those before it may."""


def table(boards: Iterable[Measured]) -> list[tuple[str, ...]]:
    """The head, and a line a defense that two of the boards have, or more."""
    boards = [board for board in boards if board.suite in SUITES and not board.level]
    rows = list(dict.fromkeys(row for board in boards for row in board.defenses))
    shown = [row for row in rows if sum(row in board.defenses for board in boards) > 1]
    return [("defense", *WHO), *((row, *(_learnt(row, who, boards) for who in WHO)) for row in shown)]


def _learnt(row: str, who: str, boards: Sequence[Measured]) -> str:
    """Images and membership, each by the attack that learns most; what nobody measured is left out."""
    told = [
        _images(_most("privacy", "recovered", row, who, boards)),
        _members(_most("membership", "membership_auc", row, who, boards)),
    ]
    return ", ".join(filter(None, told)) or "–"


def _images(found: Estimate | None) -> str:
    if found is None:
        return ""
    return f"{found.mean:.0%} of images" if found.mean >= LEAKING_SHARE else "no images"


def _members(found: Estimate | None) -> str:
    """An AUC whose interval covers one half is no better than a guess."""
    if found is None:
        return ""
    return f"who was in it (AUC {found.mean:.2f})" if found.ends[0] > 0.5 else "not who was in it"


def _most(name: str, metric: str, row: str, who: str, boards: Sequence[Measured]) -> Estimate | None:
    """The highest mean over the columns of these attackers; of an AUC, the interval that lies highest."""
    found = []
    for board in boards:
        values = estimates_of(board.data[board.data["board"] == name], metric)
        columns = [column for column, cell in board.cells.items() if _is_of(cell, who)]
        found += [values[row, column] for column in columns if (row, column) in values]
    known = [value for value in found if not math.isnan(value.mean)]
    return max(known, key=lambda value: value.ends[0] if name == "membership" else value.mean, default=None)


def _is_of(cell: Cell, who: str) -> bool:
    return (
        cell.attack is not None
        and not cell.byzantine
        and _belongs(who, cell.attack.name, cell.attack.model_dump_json())
    )


@cache
def _belongs(who: str, name: str, part: str) -> bool:
    from bench.suite import Part

    attack = registry.get("attack", name)(**Part.model_validate_json(part).parameters)
    return isinstance(attack, PrivacyAttack | MembershipAttack) and WHO[who](attack)


def _looks(attack: Attack) -> bool:
    """A server that follows the protocol."""
    return not _sees_models_alone(attack) and not (isinstance(attack, PrivacyAttack) and attack.deviates)


def _sees_models_alone(attack: Attack) -> bool:
    return isinstance(attack, MembershipAttack) and attack.sees() == "broadcasts"
