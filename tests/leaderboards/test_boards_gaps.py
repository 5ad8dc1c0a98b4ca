"""A row that lacks what other rows have is not ranked as a whole one: it keeps its numbers, a flag, and no rank."""

import dataclasses
from typing import Any

import pytest

from bench.records import Record
from leaderboards.board import Leaderboard
from leaderboards.boards import build
from leaderboards.frame import select
from leaderboards.harmless import NO_CONTROL

MILD, HARD = "sign_flip b=0.2", "sign_flip b=0.4"
NO_RANK = "columns or seeds missing that other rows have"


def whole(make: Any, make_leak: Any, row: str, accuracy: float) -> list[Record]:
    """Two seeds of everything; the hard attack takes half of the accuracy."""
    found = []
    for seed in (0, 1):
        found += [make(row, accuracy=accuracy, seed=seed), make(row, "sign_flip", accuracy=accuracy, seed=seed)]
        found += [make(row, "sign_flip", 0.4, accuracy / 2 - seed / 10, seed=seed)]
        found += [make_leak(row, recovered=1 - accuracy, seed=seed)]
    return found


@pytest.fixture
def records(make: Any, make_leak: Any) -> list[Record]:
    return whole(make, make_leak, "best", 0.9) + whole(make, make_leak, "worst", 0.6)


def board_of(records: list[Record], gone: list[Record], **options: Any) -> Leaderboard:
    kept = [record for record in records if record not in gone]
    return build("tiny", "t", 2, select(kept, cells=[record.cell for record in records]), **options)


def test_a_row_without_its_worst_column_does_not_lead(records: list[Record], table: Any) -> None:
    gone = [one for one in records if (one.cell.label, one.cell.column) == ("best", HARD)]
    board = board_of(records, gone)
    robust = table(board, "robustness")
    assert robust.rows() == ["worst", "best"]
    assert (robust.cell("worst", "rank"), robust.cell("best", "rank")) == ("1", "–")
    assert robust.cell("best", MILD).startswith("90.0")
    assert board.flags["best"] == [f"{HARD}: 0 of 2 seeds"]
    assert board.left_out == [f"no rank in robustness: best ({NO_RANK})"]


def test_a_row_without_its_worst_seed_does_not_lead_nor_stand_on_the_front(records: list[Record], table: Any) -> None:
    before = table(board_of(records, []), "overall")
    assert (before.rows()[0], before.cell("best", "Pareto")) == ("best", "yes")
    gone = [one for one in records if (one.cell.label, one.cell.column, one.seed) == ("best", HARD, 1)]
    board = board_of(records, gone)
    robust, overall = table(board, "robustness"), table(board, "overall")
    assert (robust.cell("worst", "rank"), robust.cell("best", "rank")) == ("1", "–")
    assert robust.cell("best", "worst case").startswith("45.0%")
    assert (overall.cell("worst", "Pareto"), overall.cell("best", "Pareto")) == ("yes", "")
    assert overall.rows() == ["worst", "best"]
    assert overall.cell("best", "robustness") == "– (worst 45.0%)"
    assert board.flags["best"] == [f"{HARD}: 1 of 2 seeds"]


@pytest.mark.parametrize(("name", "column"), [("privacy", "dlg"), ("utility", "clean")])
def test_so_it_is_on_every_ranked_board(records: list[Record], table: Any, name: str, column: str) -> None:
    gone = [one for one in records if (one.cell.label, one.cell.column, one.seed) == ("best", column, 0)]
    board = board_of(records, gone)
    found = table(board, name)
    assert (found.cell("worst", "rank"), found.cell("best", "rank")) == ("1", "–")
    assert board.left_out == [f"no rank in {name}: best ({NO_RANK})"]


def test_what_no_row_has_is_no_gap(records: list[Record], table: Any) -> None:
    """A user's run of one attack, or of one seed: its rows compare, and the line says what the suite has besides."""
    gone = [one for one in records if one.cell.column == MILD or one.seed == 1]
    board = board_of(records, gone)
    robust = table(board, "robustness")
    assert (robust.cell("best", "rank"), robust.cell("worst", "rank")) == ("1", "2")
    assert board.left_out == [f"1 column of the suite without a record: {MILD}"]


def test_rows_of_different_runs_do_not_compare(records: list[Record], table: Any) -> None:
    """`run --defense best --attack sign_flip` at one strength, then another row at the other one: nobody leads."""
    mine = {"best": MILD, "worst": HARD}
    gone = [one for one in records if one.cell.attack_name == "sign_flip" and one.cell.column != mine[one.cell.label]]
    board = board_of(records, gone)
    robust = table(board, "robustness")
    assert [robust.cell(row, "rank") for row in ("best", "worst")] == ["–", "–"]
    assert board.left_out == [f"no rank in robustness: best, worst ({NO_RANK})"]


def test_a_row_without_a_backdoor_does_not_lead_by_the_others(make: Any, make_boards: Any, table: Any) -> None:
    def planted(row: str, b: float, success: float) -> Record:
        record: Record = make(row, "backdoor", b, metrics={"accuracy": 0.9, "backdoor_success": success})
        return record

    records = [planted("whole", 0.2, 0.3), planted("whole", 0.4, 0.9), planted("holed", 0.2, 0.1)]
    assert table(make_boards(records), "backdoor").rows() == ["whole", "holed"]


# ------------------------------------------------------------------------------------------ where the records come from


def of(records: list[Record], row: str, **made: str) -> list[Record]:
    """The records, of which those of a row say that they were made so."""
    changed = {
        one.key: one.model_copy(update={"environment": one.environment.model_copy(update=made)})
        for one in records
        if one.cell.label == row
    }
    return [changed.get(one.key, one) for one in records]


def test_a_row_of_another_arithmetic_is_flagged(records: list[Record]) -> None:
    told = "8 of 8 records made under another arithmetic (native): cannot be replayed bit for bit"
    assert board_of(of(records, "best", arithmetic="native"), []).flags == {"best": [told]}


def test_records_from_before_are_told_in_one_line_for_the_board(records: list[Record]) -> None:
    board = board_of(of(records, "best", arithmetic=""), [])
    assert board.flags == {}
    assert board.caveats == [
        NO_CONTROL,
        "8 of 16 records made under another arithmetic (from before records named it): cannot be replayed bit for bit; "
        "rows: best",
    ]
    assert board_of(records, []).caveats == [NO_CONTROL]


def test_devices_that_are_mixed_are_flagged(records: list[Record]) -> None:
    all_cuda = of(records, "best", device="cuda: NVIDIA H200")
    elsewhere = "made on another device than other rows, cuda: NVIDIA H200: a CPU cannot replay it"
    assert board_of(all_cuda, []).flags == {"best": [elsewhere]}
    mixed = [*all_cuda[:1], *records[1:]]
    told = "made on several devices: 7 on cpu, 1 on cuda: NVIDIA H200: a CPU replays none but its own"
    assert board_of(mixed, []).flags == {"best": [told]}
    one_device = of(all_cuda, "worst", device="cuda: NVIDIA H200")
    assert board_of(one_device, []).flags == {}


def test_a_board_is_built_whole_and_frozen(records: list[Record]) -> None:
    board = board_of(records, [])
    with pytest.raises(dataclasses.FrozenInstanceError):
        board.results = "elsewhere"  # type: ignore[misc]
