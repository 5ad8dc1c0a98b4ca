"""What who learns: for each defense and attacker, in plain words, from what the published boards measured."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.plays.findings import build_attack
from bench.suite import Cell
from bench.threat import MembershipAttack, PrivacyAttack
from leaderboards.decision import Measured
from leaderboards.estimates import Estimate
from leaderboards.html.leads import estimates_of
from leaderboards.overall import LEAKING_SHARE

SUITES = ("digits", "membership", "malicious-server")
"""The boards that are read: images by a server, who was in it, images by a server that deviates."""
MEASURED = {"privacy": "recovered", "membership": "membership_auc"}
"""The metric of each kind of board that is read."""
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
    images, members = (_by_attacker(boards, name, metric) for name, metric in MEASURED.items())
    lines = []
    for row in shown:
        told = [(_images(images.get((row, who), [])), _members(members.get((row, who), []))) for who in WHO]
        lines.append((row, *(", ".join(filter(None, both)) or "–" for both in told)))
    return [("defense", *WHO), *lines]


def _by_attacker(boards: Iterable[Measured], name: str, metric: str) -> dict[tuple[str, str], list[Estimate]]:
    """By row and attacker: what the columns of that attacker measured on the boards of one name."""
    results: dict[tuple[str, str], list[Estimate]] = {}
    for board in boards:
        whose = {column: _attacker(cell) for column, cell in board.cells.items()}
        for (row, column), value in estimates_of(board.data[board.data["board"] == name], metric).items():
            if (who := whose.get(column)) and not math.isnan(value.mean):
                results.setdefault((row, who), []).append(value)
    return results


def _images(found: Sequence[Estimate]) -> str:
    """By the attack that recovers most; nothing where nobody measured."""
    if not found:
        return ""
    most = max(value.mean for value in found)
    return f"{most:.0%} of images" if most >= LEAKING_SHARE else "no images"


def _members(found: Sequence[Estimate]) -> str:
    """By the AUC whose interval lies highest; one that covers one half is no better than a guess."""
    if not found:
        return ""
    most = max(found, key=lambda value: value.ends[0])
    return f"who was in it (AUC {most.mean:.2f})" if most.ends[0] > 0.5 else "not who was in it"


def _attacker(cell: Cell) -> str:
    """Whose attack it is; nobody's where clients forge, or nothing is learnt."""
    if cell.attack is None or cell.byzantine:
        return ""
    attack = build_attack(cell.attack)
    if not isinstance(attack, PrivacyAttack | MembershipAttack):
        return ""
    return next((who for who, is_of in WHO.items() if is_of(attack)), "")


def _looks(attack: Attack) -> bool:
    """A server that follows the protocol."""
    return not _sees_models_alone(attack) and not (isinstance(attack, PrivacyAttack) and attack.deviates)


def _sees_models_alone(attack: Attack) -> bool:
    return isinstance(attack, MembershipAttack) and attack.sees() == "broadcasts"
