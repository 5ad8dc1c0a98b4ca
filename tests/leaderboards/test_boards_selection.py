"""Which records stand side by side; and that their order does not matter."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leaderboards.board import LONG_FORMAT
from leaderboards.boards import build
from leaderboards.formats import FORMATS
from leaderboards.frame import FRAME, select, to_frame


def accuracies(selection):
    return sorted(selection.frame["accuracy"])


def test_nothing_to_select():
    selection = select([])
    assert (selection.records, selection.left_out, len(selection.frame)) == ([], [], 0)


def test_a_frame_without_records_has_its_columns(make):
    assert tuple(to_frame([]).columns) == FRAME
    assert set(FRAME) <= set(to_frame([make("a")]).columns)


def test_records_of_which_none_is_the_suites_make_empty_boards_that_say_so(make, make_leak):
    """What the suite's cells name has other parameters in every record that is there."""
    old = [make("a", accuracy=0.1, defense={"f": 1}), make_leak("a", defense={"f": 1})]
    wanted = [make("a", defense={"f": 2}).cell, make_leak("a", defense={"f": 2}).cell]
    selection = select(old, cells=wanted)
    assert (selection.records, selection.rows(["a"]), selection.evaluations) == ([], [], frozenset())
    leaderboard = build("tiny", "t", 1, selection)
    assert [len(board.text) for board in leaderboard.boards] == [0] * len(leaderboard.boards)
    left_out = "2 records whose cell was run again or with other parameters"
    written = {name: write(leaderboard) for name, write in FORMATS.items()}
    assert all(left_out in written[name] for name in ("md", "json", "html"))
    assert written["csv"] == ",".join(LONG_FORMAT) + "\n"


def test_only_the_newest_setting(make):
    old = [make("a", accuracy=0.1, seed=seed, setting="old") for seed in range(2)]
    new = [make("a", accuracy=0.9, setting="new"), make("b", accuracy=0.8, setting="new")]
    selection = select([*new, *old])
    assert accuracies(selection) == [0.8, 0.9]
    assert selection.left_out == ["2 records of another setting (old)"]
    assert accuracies(select([*old, *new], setting="old")) == [0.1, 0.1]


def test_a_record_that_was_run_again_is_replaced(make):
    selection = select([make("a", accuracy=0.1), make("a", accuracy=0.2, seed=1), make("a", accuracy=0.9)])
    assert accuracies(selection) == [0.2, 0.9]
    assert selection.left_out == ["1 record whose cell was run again or with other parameters"]


def test_a_defense_with_other_parameters_replaces_the_whole_row(make, make_leak):
    old = [
        make("a", attack, accuracy=0.1, seed=seed, defense={"f": 1}) for attack in (None, "noise") for seed in (0, 1)
    ]
    selection = select([*old, make("b", accuracy=0.5), make("a", accuracy=0.9, defense={"f": 2})])
    assert accuracies(selection) == [0.5, 0.9]  # the mean over seeds never mixes two defenses
    assert selection.left_out == ["4 records whose cell was run again or with other parameters"]


def test_a_column_is_one_attack(make):
    old = [make(row, "sign_flip", accuracy=0.1, strength={"c": 2.0}) for row in ("a", "b")]
    selection = select([*old, make("b", "sign_flip", accuracy=0.9, strength={"c": 3.0}), make("a", accuracy=0.5)])
    assert accuracies(selection) == [0.5, 0.9]


def test_training_and_privacy_cells_may_differ_in_their_federation(make, make_leak):
    records = [make("a"), make_leak("a"), make("a", "sign_flip"), make("b", federation={"batch_size": 64})]
    assert len(select(records).records) == 4


def test_inversions_of_one_row_may_differ_in_their_federation(make_leak):
    plain, batch = make_leak("a"), make_leak("a", sweep="batch_size=4", federation={"batch_size": 4})
    assert select([plain, batch]).records == [plain, batch]
    again = make_leak("a", sweep="batch_size=4", federation={"batch_size": 2})
    assert select([plain, batch, again]).records == [plain, again]


def test_audits_are_expected_of_the_cells_that_the_suite_has(make, make_audit):
    cells = [make("a").cell, make_audit("a", 1.0, 1.0).cell, make("b").cell]
    selection = select([make("a"), make("b"), make("c")], cells=cells)
    wanted = [(row, column) for row in "abc" for column in ("clean", "audit rho=1") if selection.expects(row, column)]
    assert wanted == [("a", "clean"), ("a", "audit rho=1"), ("b", "clean"), ("c", "clean")]


def test_the_suites_cells_count_more_than_the_newest(make):
    wanted = make("a", accuracy=0.9, defense={"f": 1})
    tried = make("a", accuracy=0.1, defense={"f": 2})
    assert accuracies(select([wanted, tried])) == [0.1]
    assert accuracies(select([wanted, tried], cells=[wanted.cell])) == [0.9]


def test_to_frame_has_a_row_a_record(make, make_leak):
    frame = to_frame([make("a", "sign_flip", 0.4, accuracy=0.7, seed=3), make_leak("a", "collusion", 0.6)])
    first, second = frame.to_dict(orient="records")
    assert (first["column"], first["seed"], first["accuracy"], first["kind"]) == (
        "sign_flip b=0.4",
        3,
        0.7,
        "training",
    )
    assert (second["column"], second["rho"], second["kind"]) == ("collusion rho=0.6", 0.6, "inversion")
    assert second["images"] == 4


def everything(leaderboard):
    return {name: write(leaderboard) for name, write in FORMATS.items()}


@pytest.mark.parametrize("equally_old", [False, True])
def test_the_order_of_the_records_changes_nothing(whole_matrix, make_boards, equally_old):
    same = {"finished_at": datetime(2026, 1, 1, tzinfo=UTC)} if equally_old else {}
    records = [record.model_copy(update=same) for record in whole_matrix]
    expected = everything(make_boards(records, seeds=3))

    @settings(max_examples=3)
    @given(st.permutations(records))
    def try_them(shuffled):
        assert everything(make_boards(shuffled, seeds=3)) == expected

    try_them()


def test_rows_and_columns_that_nobody_played_are_named(make):
    """The worst case of a board is of the columns that it has: which ones the suite has besides must stand there."""
    suites = [make(row, attack) for row in ("a", "b") for attack in (None, "sign_flip", "ipm")]
    played = [record for record in suites if record.cell.label == "a" and record.cell.attack_name != "ipm"]
    selection = select(played, cells=[record.cell for record in suites])
    assert selection.left_out == [
        "1 row of the suite without a record: b",
        "1 column of the suite without a record: ipm b=0.2",
    ]
    many = [make("a"), *(make("a", f"attack{index}") for index in range(7))]
    (line,) = select(many[:1], cells=[record.cell for record in many]).left_out
    assert line.endswith("attack3 b=0.2, attack4 b=0.2 and 2 more")
    assert select(suites, cells=[record.cell for record in suites]).left_out == []


def test_only_the_suites_seeds_count_and_others_are_told(make):
    """A row with five more seeds, or others, would be a mean over other luck."""
    records = [make("a", accuracy=0.5, seed=seed) for seed in (0, 1)]
    lucky = [make("b", accuracy=0.9, seed=seed) for seed in (0, 4, 12, 7, 8, 9, 10)]
    selection = select([*records, *lucky], seeds={"training": (0, 1)})
    assert accuracies(selection) == [0.5, 0.5, 0.9]
    assert selection.left_out == ["6 records of other seeds (4, 7, 8, 9, 10 and 1 more)"]
    assert len(select([*records, *lucky]).records) == 9


def test_a_record_of_another_seed_decides_nothing_of_its_row(make):
    """Neither which parameters a row has, nor what it claims."""
    kept = make("a", accuracy=0.5, defense={"f": 1})
    other = make("a", accuracy=0.9, defense={"f": 2}, seed=4)
    assert accuracies(select([kept, other], seeds={"training": (0,)})) == [0.5]
