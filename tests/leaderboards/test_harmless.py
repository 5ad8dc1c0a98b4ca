"""Columns and rows that the task stands by itself, and the board of whom a model serves worst."""

import json

import pytest

from leaderboards.formats import FORMATS
from leaderboards.harmless import NO_CONTROL

MILD, HARD = "ipm b=0.2", "sign_flip b=0.2"


def board_of(make, control, other, hard=(0.1, 0.7)):
    records = [make(row, accuracy=0.9) for row in ("fedavg", "krum")]
    records += [make("fedavg", "ipm", accuracy=control), make("krum", "ipm", accuracy=other)]
    hurt = zip(("fedavg", "krum"), hard, strict=True)
    return [*records, *(make(row, "sign_flip", accuracy=accuracy) for row, accuracy in hurt)]


@pytest.mark.parametrize(
    ("control", "other", "told"),
    [
        (0.89, 0.88, "harmless"),
        (
            0.82,
            0.40,
            "the undefended control, fedavg, keeps 91% of its clean accuracy; these rows keep less than 90%: krum",
        ),
        (0.82, 0.82, "the undefended control, fedavg, keeps 91% of its clean accuracy"),
        (0.80, 0.90, None),
    ],
)
def test_a_column_that_the_control_stands_is_marked(make, make_boards, control, other, told):
    leaderboard = make_boards(board_of(make, control, other))
    assert set(leaderboard.column_flags) == ({MILD} if told else set())
    if told:
        assert leaderboard.column_flags[MILD][0].startswith(told)
        assert f"**{MILD} ○**: {told}" in FORMATS["md"](leaderboard)
        assert f"{MILD} ○ " in FORMATS["md"](leaderboard).split("## Flags")[0]
        assert f"{MILD} ○</strong>" in FORMATS["html"](leaderboard)
        assert r"$\circ$" in FORMATS["latex"](leaderboard)
        assert json.loads(FORMATS["json"](leaderboard))["column_flags"] == {MILD: leaderboard.column_flags[MILD]}
    assert leaderboard.flags == {}


def test_a_row_that_met_nothing_else_is_marked(make, make_boards):
    leaderboard = make_boards(board_of(make, 0.85, 0.80, hard=(0.85, 0.5)))
    assert leaderboard.flags == {
        "krum": ["saved by the task: the undefended control, fedavg, withstands every attack that it met"]
    }


def test_a_backdoor_that_works_on_the_control_is_not_harmless(make, make_boards):
    works, not_so = {"accuracy": 0.9, "backdoor_success": 0.9}, {"accuracy": 0.9, "backdoor_success": 0.1}
    clean = [make(row) for row in ("fedavg", "krum")]
    for metrics, marked in ((works, set()), (not_so, {"backdoor b=0.2"})):
        records = [make(row, "backdoor").model_copy(update={"metrics": metrics}) for row in ("fedavg", "krum")]
        assert set(make_boards([*clean, *records]).column_flags) == marked


def test_without_a_control_the_board_says_so(make, make_leak, make_boards):
    attacked = [make("krum"), make("krum", "ipm")]
    assert make_boards(attacked).caveats == [NO_CONTROL]
    assert make_boards([*attacked, make("fedavg"), make("fedavg", "ipm")]).caveats == []
    assert make_boards([make("krum"), make_leak("krum")]).caveats == []
    assert NO_CONTROL in FORMATS["md"](make_boards(attacked))


# ------------------------------------------------------------------------------------------------------------ fairness


def measured(record, worst_class, worst_tenth):
    more = {"worst_class_accuracy": worst_class, "worst_tenth_accuracy": worst_tenth}
    return record.model_copy(update={"metrics": {**record.metrics, **more}})


def test_the_worst_class_and_tenth_stand_beside_the_accuracy(make, make_boards, table):
    records = [measured(make("a"), 0.7, 0.8), measured(make("a", "ipm", accuracy=0.6), 0.1, 0.5)]
    records += [measured(make("a", "sign_flip", accuracy=0.5), 0.2, 0.4), make("b"), make("b", "ipm")]
    board = table(make_boards(records), "fairness")
    names = ("clean accuracy", "clean worst class", "clean worst tenth of clients")
    assert [board.cell("a", name) for name in names] == ["90.0", "70.0", "80.0"]
    lowest = ("lowest accuracy", "lowest worst class", "lowest worst tenth of clients")
    assert [board.cell("a", name) for name in lowest] == ["50.0", "10.0", "40.0"]
    assert board.cell("b", "clean worst class") == board.cell("b", "lowest worst class") == "not measured"
    assert board.number("a", "worst_class_accuracy", MILD) == 0.1


def test_without_any_such_record_there_is_no_board(make, make_boards, table):
    assert table(make_boards([make("a")]), "fairness").board.text.empty
