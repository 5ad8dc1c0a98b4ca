"""Boards with many columns: one column an attack, with the worst, and tables that hold them all."""

import pytest

from leaderboards.frame import by_attack, columns, tables, to_frame
from leaderboards.noise import noise_board

SWEEPS = ("", "batch_size=2", "batch_size=4", "batch_size=16")
RHOS = (0.3, 0.6, 1.0)


@pytest.fixture
def leaky(make, make_leak):
    """Seven columns of two attacks; the more images in a batch, the fewer are recovered."""
    records = []
    for row, share in (("open", 1.0), ("half", 0.5), ("closed", 0.0)):
        records.append(make(row))
        records += [make_leak(row, sweep=sweep, recovered=share / 2**i) for i, sweep in enumerate(SWEEPS)]
        records += [make_leak(row, "collusion", rho, recovered=share * rho, noise=2 - rho) for rho in RHOS]
    return records


def names(leaderboard, beginning):
    return [board.name for board in leaderboard.boards if board.name.startswith(beginning)]


def test_the_ranked_table_has_the_worst_column_of_each_attack(leaky, make_boards, table):
    leaderboard = make_boards(leaky)
    assert names(leaderboard, "privacy") == ["privacy", "privacy-dlg", "privacy-collusion"]
    board = table(leaderboard, "privacy")
    assert list(board.board.text.columns) == ["rank", "defense", "worst case", "dlg", "collusion"]
    assert board.rows() == ["closed", "half", "open"]
    assert board.cell("half", "worst case") == "50% [15, 85] (dlg)"
    assert board.cell("half", "dlg") == "50% [15, 85]"
    assert board.cell("half", "collusion") == "50% [15, 85] (rho=1)"
    assert board.cell("closed", "collusion") == "0% [0, 49]"  # no column is worse than others


def test_the_tables_behind_it_hold_every_column_and_the_controls(leaky, make_boards, table):
    leaderboard = make_boards(leaky)
    dlg, collusion = table(leaderboard, "privacy-dlg"), table(leaderboard, "privacy-collusion")
    assert list(dlg.board.text.columns) == ["defense", *(f"dlg {sweep}".strip() for sweep in SWEEPS)]
    assert list(collusion.board.text.columns) == ["defense", *(f"collusion rho={rho:g}" for rho in RHOS)]
    assert dlg.rows() == [*table(leaderboard, "privacy").rows(), "control: no defense", "control: mean image, no view"]
    assert dlg.cell("open", "dlg batch_size=2") == "50% [15, 85] · 8.0 dB · 0.25"
    assert dlg.board.title == "Privacy column by column: dlg"


def test_numbers_stand_once(leaky, make_boards, table):
    leaderboard = make_boards(leaky)
    assert table(leaderboard, "privacy").number("open", "recovered", "dlg batch_size=16") == 0.125
    assert len(table(leaderboard, "privacy-dlg").board.data) == 0


def test_a_narrow_board_stays_one_table(make, make_leak, make_boards):
    records = [make("a"), *(make_leak("a", "collusion", rho) for rho in RHOS), make_leak("a")]
    assert names(make_boards(records), "privacy") == ["privacy"]


def test_the_board_of_robustness_is_split_alike(make, make_boards, table):
    strengths = {"sign_flip": (0.1, 0.2, 0.3, 0.4), "alie": (0.1, 0.2), "ipm": (0.1, 0.2, 0.3)}
    records = [make("a", accuracy=0.9)]
    records += [make("a", name, b, accuracy=0.8 - b) for name, fractions in strengths.items() for b in fractions]
    leaderboard = make_boards(records)
    assert names(leaderboard, "robustness") == ["robustness", "robustness-clean", "robustness-sign_flip"]
    board = table(leaderboard, "robustness")
    assert list(board.board.text.columns)[2:] == ["worst case", "clean", "alie", "ipm", "sign_flip"]
    assert board.cell("a", "clean") == "90.0"
    assert board.cell("a", "ipm") == "50.0% (b=0.3)"
    assert board.cell("a", "worst case") == "40.0% (sign_flip b=0.4)"
    assert table(leaderboard, "robustness-clean").cell("a", "alie b=0.2") == "60.0"


def test_a_hole_in_a_wide_board_is_a_dash(leaky, make_boards, table):
    board = table(make_boards(leaky[:-1]), "privacy")  # closed has no column rho=1
    assert board.cell("closed", "collusion") == board.cell("closed", "worst case") == "–"
    assert board.rows()[-1] == "closed"


def test_a_wide_board_of_noise_has_a_line_a_column(make_leak):
    records = [make_leak("niss", sweep=f"batch_size={size}", noise=2.2) for size in (1, 2, 4, 8, 16, 32)]
    records += [make_leak("niss", "collusion", rho, noise=2.2 - 2 * rho) for rho in RHOS] + [make_leak("open")]
    frame = to_frame(records)
    text = noise_board(["niss", "open"], columns(frame), frame).text
    assert list(text.columns) == ["attack", "niss"]
    assert list(text["attack"])[1:4] == ["dlg batch_size=1", "dlg batch_size=2", "dlg batch_size=4"]
    assert text.set_index("attack").loc["collusion rho=1", "niss"] == "0.20 ✗"
    assert text.set_index("attack").loc["dlg", "niss"] == "–"


def test_sweeps_stand_in_the_order_of_their_numbers(make_leak):
    records = [make_leak("a", sweep=f"batch_size={size}") for size in (16, 4, 1)] + [make_leak("a", sweep="trained=5")]
    assert columns(to_frame(records)) == [
        "dlg batch_size=1", "dlg batch_size=4", "dlg batch_size=16", "dlg trained=5",
    ]  # fmt: skip


@pytest.mark.parametrize(("sizes", "parts"), [((3, 3), 1), ((4, 3), 2), ((1, 7, 1), 3), ((2, 5, 1, 5), 3)])
def test_tables_never_split_an_attack(sizes, parts):
    names = [f"a{index} x={value}" for index, size in enumerate(sizes) for value in range(size)]
    found = tables(names, most=6)
    assert [name for part in found for name in part] == names
    assert len(found) == parts
    assert all(len(part) <= 6 or len(by_attack(part)) == 1 for part in found)
