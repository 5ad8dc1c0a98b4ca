"""The board of the siege: what stands beside what, and each doubt."""

import pytest

from bench.records import Rehearsal, Siege
from leaderboards.formats import FORMATS

SIEGE = "siege b=0.2"


def besieged(make, row, accuracy, seed=0, curve=(), **members):
    left = {"alie": accuracy, **members}
    rehearsals = {name: Rehearsal(validation=value, accuracy=value) for name, value in left.items()}
    told = Siege(chosen="alie", members=rehearsals, rounds=2100, evaluations=15200)
    record = make(row, "siege", accuracy=accuracy, seed=seed)
    return record.model_copy(update={"siege": told, "curve": list(curve)})


def test_it_stands_beside_the_single_attack_that_leaves_least(make, make_boards, table):
    records = [make("krum", "ipm", accuracy=0.7), make("krum", "sign_flip", accuracy=0.6)]
    records += [besieged(make, "krum", 0.5, votes=0.8)]
    board = table(make_boards([make("krum"), *records]), "siege")
    assert board.cell("krum", "left by the siege") == "50.0"
    assert board.cell("krum", "best single attack") == "sign_flip b=0.2"
    assert board.cell("krum", "difference") == "-10.0"
    assert board.cell("krum", "played") == "alie"
    assert board.cell("krum", "evaluations") == "15,200"
    assert board.cell("krum", "doubts") == ""
    assert board.number("krum", "accuracy", SIEGE) == 0.5


@pytest.mark.parametrize(
    ("single", "members", "curve", "doubt"),
    [
        (0.4, {"votes": 0.8}, (), "sign_flip b=0.2 harms more"),
        (0.9, {"votes": 0.5}, (), "no member changes anything: the rule does not react to what is sent"),
        (0.9, {"votes": 0.3}, (), "a member harms the test images far more than the one that was chosen"),
        (
            0.9,
            {"votes": 0.8},
            [(round_, 0.9 - 0.01 * round_) for round_ in range(1, 41)],
            "accuracy still falls at the end in 1 of 1 seeds: longer runs leave less",
        ),
    ],
)
def test_what_makes_one_doubt_it_is_said(make, make_boards, table, single, members, curve, doubt):
    records = [make("krum"), make("krum", "sign_flip", accuracy=single)]
    board = table(make_boards([*records, besieged(make, "krum", 0.5, curve=curve, **members)]), "siege")
    assert board.cell("krum", "doubts") == doubt


def test_within_the_interval_of_its_seeds_a_single_attack_is_no_stronger(make, make_boards, table):
    records = [make("krum", "sign_flip", accuracy=0.49, seed=seed) for seed in range(3)]
    records += [besieged(make, "krum", accuracy, seed, votes=0.8) for seed, accuracy in enumerate((0.4, 0.5, 0.6))]
    board = table(make_boards(records), "siege")
    assert board.cell("krum", "difference") == "+1.0"
    assert board.cell("krum", "doubts") == ""


def test_where_nobody_besieged_there_is_no_board(make, make_boards, table):
    assert table(make_boards([make("krum"), make("krum", "ipm")]), "siege").board.text.empty


def test_in_a_suite_of_sieges_it_stands_beside_the_published_attack_among_its_members(make, make_boards, table):
    records = [besieged(make, "krum", 0.5, seed, votes=0.4, ipm=left) for seed, left in enumerate((0.6, 0.4))]
    board = table(make_boards([make("krum"), *records]), "siege")
    assert board.cell("krum", "best single attack") == "alie"
    assert board.cell("krum", "left by it") == "50.0 ± 0.0"
    lower = [besieged(make, "krum", 0.5, seed, votes=0.2, ipm=0.45) for seed in range(2)]
    assert table(make_boards([make("krum"), *lower]), "siege").cell("krum", "best single attack") == "ipm"


def test_a_row_whose_trainings_all_diverged_is_there(make, make_boards, table):
    lost = besieged(make, "fedavg", 0.0).model_copy(update={"status": "diverged", "error": "under alie", "metrics": {}})
    leaderboard = make_boards([make("krum"), make("fedavg"), besieged(make, "krum", 0.5, votes=0.8), lost])
    board = table(leaderboard, "siege")
    assert board.cell("fedavg", "left by the siege") == "failed"
    assert board.cell("fedavg", "best single attack") == ""
    assert "fedavg" in FORMATS["md"](leaderboard).split("The siege against")[1]
