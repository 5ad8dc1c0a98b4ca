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


def test_a_row_without_a_column_of_the_suite_has_no_rank(make: Make, table: Any) -> None:
    suites = row(make, "krum", 0.7) + row(make, "median", 0.3)
    selection = select([*suites[:1], *suites[2:]], cells=[record.cell for record in suites])
    board = table(build("tiny", "t", 1, selection), "robustness")
    assert (board.cell("median", "rank"), board.cell("krum", "rank")) == ("1", "–")
    assert board.cell("krum", "worst case") == "–"


def leaks(make_leak: Make, name: str, share: float, **more: Any) -> list[Record]:
    return [make_leak(name, recovered=share, **more), make_leak(name, "collusion", 0.6, recovered=share, **more)]


def test_the_worst_known_inversion_decides_the_rank(make_leak: Make, table: Any) -> None:
    suites = leaks(make_leak, "niss", 0.0) + leaks(make_leak, "dpbfl", 0.25)
    cells = [record.cell for record in suites]
    before = table(build("tiny", "t", 1, select(suites, cells=cells)), "privacy")
    assert (before.cell("niss", "rank"), before.cell("dpbfl", "rank")) == ("1", "2")

    stronger = make_leak("niss", "peeler", 1.0, recovered=1.0, psnr=40.0)
    leaderboard = build("tiny", "t", 1, select([*suites, stronger], cells=cells))
    after = table(leaderboard, "privacy")
    assert (after.cell("dpbfl", "rank"), after.cell("niss", "rank")) == ("1", "2")
    assert after.cell("niss", "worst case").startswith("100%")
    assert after.cell("niss", "worst case").endswith("(peeler rho=1)")
    assert after.cell("dpbfl", "worst case").startswith("25%")
    assert after.cell("dpbfl", "peeler rho=1") == "–"
    assert after.number("dpbfl", "worst_recovered") == pytest.approx(0.25)
    assert after.number("niss", "worst_recovered") == pytest.approx(1.0)
    assert leaderboard.flags == {}


def test_a_weaker_inversion_by_others_changes_no_rank(make_leak: Make, table: Any) -> None:
    """Rows that share their worst case are told apart by the mean over the suite's columns, which all of them have."""
    suites = leaks(make_leak, "one", 0.5) + leaks(make_leak, "other", 0.5)
    cells = [record.cell for record in suites]
    weaker = make_leak("one", "peeler", 1.0, recovered=0.0)
    board = table(build("tiny", "t", 1, select([*suites, weaker], cells=cells)), "privacy")
    assert (board.cell("one", "rank"), board.cell("other", "rank")) == ("1", "1")


def test_an_inversion_by_others_that_failed_says_nothing(make_leak: Make, table: Any) -> None:
    suites = leaks(make_leak, "niss", 0.0) + leaks(make_leak, "dpbfl", 0.25)
    broke = make_leak("niss", "peeler", 1.0, status="failed", error="ValueError: no")
    leaderboard = build("tiny", "t", 1, select([*suites, broke], cells=[record.cell for record in suites]))
    board = table(leaderboard, "privacy")
    assert (board.cell("niss", "rank"), board.cell("niss", "peeler rho=1")) == ("1", "failed")
    assert leaderboard.flags == {"niss": ["peeler rho=1: 1 seed(s) failed: ValueError: no"]}


def test_a_row_without_a_suites_inversion_still_has_no_worst_case(make_leak: Make, table: Any) -> None:
    suites = leaks(make_leak, "niss", 0.0) + leaks(make_leak, "dpbfl", 0.25)
    selection = select(suites[:1] + suites[2:], cells=[record.cell for record in suites])
    board = table(build("tiny", "t", 1, selection), "privacy")
    assert (board.cell("niss", "rank"), board.cell("niss", "worst case")) == ("–", "–")


def test_many_columns_and_an_inversion_by_others(make_leak: Make, table: Any) -> None:
    """Where a board is split by attack, the summary has a dash for rows without the evaluation."""
    rhos = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
    suites = [make_leak(row, "collusion", rho, recovered=0.25) for row in ("niss", "dpbfl") for rho in rhos]
    stronger = make_leak("niss", "peeler", 1.0, recovered=1.0)
    cells = [record.cell for record in suites]
    board = table(build("tiny", "t", 1, select([*suites, stronger], cells=cells)), "privacy")
    assert board.cell("dpbfl", "peeler") == "–"
    assert board.cell("niss", "peeler").startswith("100%")
    assert (board.cell("dpbfl", "rank"), board.cell("niss", "rank")) == ("1", "2")


def test_an_inversion_in_a_suite_that_has_none_stands_beside_the_front(make: Make, make_leak: Make, table: Any) -> None:
    """It is a score of one row alone: the others are not compared on it, and the board is made."""
    suites = row(make, "krum", 0.7) + row(make, "median", 0.6)
    cells = [record.cell for record in suites]
    before = table(build("tiny", "t", 1, select(suites, cells=cells)), "overall")
    stronger = make_leak("krum", "peeler", 1.0, recovered=1.0)
    leaderboard = build("tiny", "t", 1, select([*suites, stronger], cells=cells))
    after = table(leaderboard, "overall")
    assert [after.cell(name, "Pareto") for name in ("krum", "median")] == ["yes", ""]
    assert after.board.data.equals(before.board.data)
    assert after.cell("krum", "privacy").startswith("1 (worst 100%")
    assert after.cell("median", "privacy") == "–"
    assert table(leaderboard, "privacy").rows()[0] == "krum"


def test_a_forgery_in_a_suite_without_training_makes_no_front(make: Make, make_leak: Make, table: Any) -> None:
    """The attacked row is the only one with an accuracy: that must not lift it above all others."""
    suites = leaks(make_leak, "niss", 0.0) + leaks(make_leak, "dpbfl", 0.25)
    cells = [record.cell for record in suites]
    leaderboard = build("tiny", "t", 1, select([*suites, make("niss", "loud", 0.2, accuracy=0.3)], cells=cells))
    overall = table(leaderboard, "overall")
    assert "Pareto" not in overall.board.text.columns
    assert overall.rows() == ["niss", "dpbfl"]  # by privacy, which both have
    assert overall.cell("niss", "robustness") == "1 (worst 30.0%)"
    assert overall.cell("dpbfl", "robustness") == "–"
    assert table(leaderboard, "robustness").rows() == ["niss"]
