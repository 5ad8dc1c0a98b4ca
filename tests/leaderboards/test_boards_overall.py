"""The overall board and the board of claims."""

import math

import pytest

from bench.records import Privacy
from leaderboards.overall import pareto_front


def test_pareto_front_by_hand():
    points = {
        "best at one": (0.9, 0.1, 0.5),
        "best at two": (0.1, 0.9, 0.5),
        "between": (0.5, 0.5, 0.5),
        "dominated by between": (0.5, 0.4, 0.5),
        "equal to between": (0.5, 0.5, 0.5),
        "worse in all": (0.0, 0.0, 0.0),
        "unknown": (1.0, math.nan, 1.0),
    }
    assert pareto_front(points) == {"best at one", "best at two", "between", "equal to between"}
    assert pareto_front({"alone": (0.0,)}) == {"alone"}
    assert pareto_front({}) == set()


def row(make, make_leak, name, clean, attacked, recovered):
    return [
        make(name, accuracy=clean),
        make(name, "sign_flip", accuracy=attacked),
        make_leak(name, recovered=recovered),
    ]


@pytest.fixture(scope="module")
def leaderboard(make, make_leak, make_boards):
    records = row(make, make_leak, "open", 0.9, 0.3, 1.0)  # on the front: the best clean accuracy
    records += row(make, make_leak, "closed", 0.5, 0.4, 0.0)  # on the front: nothing recovered
    records += row(make, make_leak, "robust", 0.8, 0.7, 0.5)  # on the front: the best worst case
    records += row(make, make_leak, "poor", 0.4, 0.1, 0.05)  # dominated by closed
    return make_boards(records)


def test_front_first_then_by_robustness(leaderboard, table):
    board = table(leaderboard, "overall")
    assert board.rows() == ["robust", "closed", "open", "poor"]
    assert [board.cell(name, "Pareto") for name in board.rows()] == ["yes", "yes", "yes", ""]
    assert [board.number(name, "pareto") for name in board.rows()] == [1, 1, 1, 0]


def test_places(leaderboard, table):
    board = table(leaderboard, "overall")
    assert board.cell("closed", "robustness") == "2 (worst 40.0%)"
    assert board.cell("closed", "privacy") == "1 (worst 0% [0, 49] recovered)"
    assert board.cell("closed", "utility") == "3 (clean 50.0%)"


def test_what_breaks_a_row(leaderboard, table):
    board = table(leaderboard, "overall")
    assert board.cell("open", "what breaks it") == "sign_flip b=0.2; leaks to dlg"
    assert board.cell("robust", "what breaks it") == "leaks to dlg"
    assert board.cell("closed", "what breaks it") == "nothing here"
    assert board.cell("poor", "what breaks it") == "low clean accuracy"


def test_failures_break_a_row(make, make_boards, table):
    failed = {"accuracy": None, "status": "failed", "error": "no", "seed": 1}
    records = [make("a"), make("a", "sign_flip"), make("a", "sign_flip", **failed)]
    records += [make("b"), make("b", **failed), make("b", "sign_flip")]
    board = table(make_boards(records), "overall")
    assert board.cell("a", "what breaks it") == "sign_flip b=0.2"
    assert board.cell("b", "what breaks it") == "clean run failed"


def test_leaks_only_count_what_finished(make, make_leak, make_boards, table):
    records = [make("a"), make_leak("a", recovered=0.0), make_leak("a", seed=1, recovered=1.0, status="diverged")]
    assert table(make_boards(records), "overall").cell("a", "what breaks it") == "nothing here"


def test_a_missing_place_is_a_dash_and_off_the_front(make, make_leak, make_boards, table):
    records = row(make, make_leak, "whole", 0.8, 0.1, 1.0) + row(make, make_leak, "holed", 0.9, 0.9, 0.0)[:2]
    board = table(make_boards(records), "overall")
    assert board.cell("holed", "privacy") == "–"
    assert board.cell("holed", "Pareto") == ""
    assert board.cell("whole", "Pareto") == "yes"


def test_the_front_without_privacy_attacks(make, make_boards, table):
    records = [make("a", accuracy=0.9), make("a", "sign_flip", accuracy=0.5)]
    records += [make("b", accuracy=0.8), make("b", "sign_flip", accuracy=0.4)]
    board = table(make_boards(records), "overall")
    assert [board.cell(name, "Pareto") for name in ("a", "b")] == ["yes", ""]
    assert "privacy" not in board.board.text.columns


def test_where_nothing_is_ranked_nobody_is_on_the_front(make_audit, make_boards, table):
    board = table(make_boards([make_audit("a", 0.5, None)]), "overall")
    assert list(board.board.text.columns) == ["defense", "what breaks it"]
    assert not len(board.board.data)


def test_a_single_ranking_has_no_front(make, make_boards, table):
    board = table(make_boards([make("a", accuracy=0.9), make("b", accuracy=0.8)]), "overall")
    assert "Pareto" not in board.board.text.columns


def test_claims(make, make_audit, make_boards, make_claim, table):
    stated = Privacy(claimed=make_claim(2.1512, delta=0.0), composed=make_claim(345.2, delta=1.5e-5))
    void = Privacy(claimed=make_claim(None, "needs epsilon < 1", delta=None))
    records = [make("a", privacy=stated), make("b", privacy=void), make("c")]
    records += [make_audit("b", bound, rho, claimed=void.claimed) for bound, rho in ((0.25, None), (0.5, 1.0))]
    board = table(make_boards(records), "claims")
    assert board.cell("a", "claimed") == "ε = 2.15, δ = 0 per upload (a paper, Theorem 1)"
    assert board.cell("a", "composed") == "ε = 345, δ = 1.5e-05 per upload (a paper, Theorem 1)"
    assert board.cell("a", "audited") == "not yet"
    assert board.cell("b", "claimed") == "none: needs epsilon < 1"
    assert board.cell("b", "audited") == "ε ≥ 0.5 per upload at audit rho=1 (audit of 500 games)"
    assert [board.cell("c", kind) for kind in ("claimed", "composed", "audited")] == ["nothing", "–", "–"]
    assert board.number("a", "epsilon_claimed") == 2.1512


def test_a_failed_run_states_no_claim(make, make_boards, make_claim, table):
    failed = {"accuracy": None, "status": "failed", "error": "no"}
    stated = Privacy(claimed=make_claim(2.0))
    records = [make("a", **failed), make("a", seed=1, privacy=stated)]
    records += [make("b", **failed), make("b", "sign_flip", privacy=stated), make("c", **failed)]
    board = table(make_boards(records), "claims")
    assert board.rows() == ["a", "b"]
    assert (
        board.cell("a", "claimed") == board.cell("b", "claimed") == "ε = 2, δ = 1e-06 per upload (a paper, Theorem 1)"
    )


@pytest.mark.parametrize(("recovered", "breaks"), [(0.1, "leaks to dlg"), (0.0625, "nothing here")])
def test_a_leak_is_one_image_in_ten(make, make_leak, make_boards, table, recovered, breaks):
    board = table(make_boards([make("a"), make_leak("a", recovered=recovered)]), "overall")
    assert board.cell("a", "what breaks it") == breaks


@pytest.mark.parametrize(("second", "breaks"), [(1.0, "leaks to every privacy attack"), (0.0, "leaks to dlg")])
def test_a_row_that_leaks_everywhere_says_so_in_a_word(make, make_leak, make_boards, table, second, breaks):
    leaks = [make_leak("a", recovered=1.0), make_leak("a", "collusion", recovered=second, rho=1.0)]
    board = table(make_boards([make("a"), *leaks]), "overall")
    assert board.cell("a", "what breaks it") == breaks


def test_many_columns_of_one_attack_are_told_in_a_word(make, make_leak, make_boards, table):
    records = [make("a"), *(make("a", "sign_flip", b, accuracy=0.1) for b in (0.1, 0.2, 0.3)), make("a", "alie")]
    records += [make_leak("a", "collusion", rho, recovered=1.0) for rho in (0.3, 0.6, 1.0)] + [make_leak("a")]
    breaks = table(make_boards(records), "overall").cell("a", "what breaks it")
    assert breaks == "every sign_flip; leaks to every collusion"


@pytest.mark.parametrize(("attacked", "breaks"), [(0.39, "sign_flip b=0.2"), (0.4, "nothing here")])
def test_an_attack_breaks_what_it_more_than_halves(make, make_boards, table, attacked, breaks):
    board = table(make_boards([make("a", accuracy=0.8), make("a", "sign_flip", accuracy=attacked)]), "overall")
    assert board.cell("a", "what breaks it") == breaks
