"""An attack that somebody ran against one row decides that row's rank, and is missed in no other."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.records import Record
from leaderboards.boards import build
from leaderboards.frame import select

Make = Callable[..., Record]


def row(make: Make, name: str, accuracy: float) -> list[Record]:
    return [make(name), make(name, "sign_flip", 0.2, accuracy=accuracy)]


def test_the_worst_known_attack_decides_the_rank(make: Make, table: Any) -> None:
    suites = row(make, "krum", 0.7) + row(make, "median", 0.6)
    cells = [record.cell for record in suites]
    before = table(build("tiny", "t", 1, select(suites, cells=cells)), "robustness")
    assert (before.cell("krum", "rank"), before.cell("median", "rank")) == ("1", "2")

    stronger = make("krum", "loud", 0.2, accuracy=0.1)
    leaderboard = build("tiny", "t", 1, select([*suites, stronger], cells=cells))
    after = table(leaderboard, "robustness")
    assert (after.cell("median", "rank"), after.cell("krum", "rank")) == ("1", "2")
    assert after.cell("krum", "worst case") == "10.0% (loud b=0.2)"
    assert after.cell("median", "worst case") == "60.0% (sign_flip b=0.2)"
    assert after.number("median", "worst_accuracy") == pytest.approx(0.6)
    assert leaderboard.flags == {}


def test_a_submitted_row_is_not_asked_for_evaluations_of_others(make: Make) -> None:
    suites = row(make, "krum", 0.7)
    cells = [record.cell for record in suites]
    submitted = row(make, "phocas", 0.5)
    selection = select([*suites, *submitted, make("krum", "loud", 0.2, accuracy=0.1)], cells=cells)
    assert selection.evaluations == {"loud b=0.2"}
    assert selection.expects("phocas", "sign_flip b=0.2")
    assert not selection.expects("phocas", "loud b=0.2")


def test_a_missing_column_of_the_suite_still_ranks_last(make: Make, table: Any) -> None:
    suites = row(make, "krum", 0.7) + row(make, "median", 0.1)
    selection = select([*suites[:1], *suites[2:]], cells=[record.cell for record in suites])
    board = table(build("tiny", "t", 1, selection), "robustness")
    assert (board.cell("median", "rank"), board.cell("krum", "rank")) == ("1", "2")
    assert board.cell("krum", "worst case") == "–"
