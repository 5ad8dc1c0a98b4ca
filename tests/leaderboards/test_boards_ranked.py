"""The ranked boards: worst cases, ranks, controls, costs."""

import math

import pytest

from bench.records import Cost
from leaderboards.board import ranks
from leaderboards.estimates import MISSING, Estimate
from leaderboards.noise import falls_short

MILD, HARD = "sign_flip b=0.2", "sign_flip b=0.4"


def attacked(make, row, mild, hard, clean=0.9, **fields):
    """A row's three cells."""
    return [
        make(row, accuracy=clean),
        make(row, "sign_flip", 0.2, accuracy=mild, **fields),
        make(row, "sign_flip", 0.4, accuracy=hard, **fields),
    ]


def test_ties_share_a_rank_and_nothing_comes_last():
    assert ranks({"a": (0.5,), "b": (0.7,), "c": (0.5 + 1e-9,), "d": (math.nan,), "e": (0.1,)}) == {
        "b": 1, "a": 2, "c": 2, "e": 4, "d": 5,
    }  # fmt: skip


def test_a_second_score_breaks_ties():
    assert ranks({"a": (0.5, 1.0), "b": (0.5, 2.0), "c": (0.6, 0.0)}) == {"c": 1, "b": 2, "a": 3}


def test_worst_case_and_ranks(make, make_boards, table):
    records = attacked(make, "weak", 0.8, 0.1) + attacked(make, "strong", 0.7, 0.6) + attacked(make, "odd", 0.1, 0.9)
    board = table(make_boards(records), "robustness")
    assert board.rows() == ["strong", "weak", "odd"]
    assert [board.cell(row, "rank") for row in board.rows()] == ["1", "2", "2"]
    assert board.cell("strong", "worst case") == f"60.0% ({HARD})"
    assert board.cell("odd", "worst case") == f"10.0% ({MILD})"
    assert board.number("weak", "worst_accuracy") == pytest.approx(0.1)
    assert list(board.board.text.columns) == ["rank", "defense", "worst case", "clean", MILD, HARD]


def test_a_missing_column_is_no_better_and_has_no_rank(make, make_boards, table):
    records = attacked(make, "whole", 0.3, 0.2) + attacked(make, "holed", 0.9, 0.9)[:2]
    board = table(make_boards(records), "robustness")
    assert board.cell("holed", HARD) == "–"
    assert board.cell("holed", "worst case") == "–"
    assert (board.cell("whole", "rank"), board.cell("holed", "rank")) == ("1", "–")
    assert math.isnan(board.number("holed", "worst_accuracy"))


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_failed_seed_is_the_worst_case(make, make_boards, table, status):
    records = attacked(make, "sturdy", 0.3, 0.2) + attacked(make, "fragile", 0.9, 0.9)
    records.append(make("fragile", "sign_flip", 0.4, accuracy=None, seed=1, status=status, error="Error: no"))
    board = table(make_boards(records), "robustness")
    assert board.cell("fragile", HARD) == "90.0 (1 failed)"
    assert board.cell("fragile", "worst case") == f"0.0% ({HARD})"
    assert board.rows() == ["sturdy", "fragile"]


def test_the_clean_run_is_no_worst_case(make, make_boards, table):
    board = table(make_boards(attacked(make, "odd", 0.8, 0.7, clean=0.1)), "robustness")
    assert board.number("odd", "worst_accuracy") == pytest.approx(0.7)


def test_dagger_on_the_board(make, make_boards, table):
    board = table(make_boards(attacked(make, "mean", 0.8, 0.1, within_claim=False)), "robustness")
    assert (board.cell("mean", "clean"), board.cell("mean", HARD)) == ("90.0", "10.0 †")
    assert not board.number("mean", "accuracy", HARD, "within_claim")
    assert board.number("mean", "accuracy", "clean", "within_claim")


def test_boards_without_their_attacks_are_left_out(make, make_leak, make_boards, table):
    only_clean, only_leaks = make_boards([make("krum")]), make_boards([make("krum"), make_leak("krum")])
    assert table(only_clean, "robustness").board.text.empty
    assert table(only_clean, "privacy").board.text.empty
    assert not table(only_leaks, "privacy").board.text.empty


def test_privacy_ranks_by_the_worst_column_then_whole_decibels(make, make_leak, make_boards, table):
    rows = {
        "leaky": (0.0, 0.75, 24.0),
        "clear": (0.0, 0.25, 15.0),
        "murky": (0.25, 0.0, 12.2),
        "twin": (0.25, 0.0, 12.4),
    }
    records = []
    for row, (alone, colluding, psnr) in rows.items():
        records += [make(row), make_leak(row, recovered=alone, psnr=7.0)]
        records += [make_leak(row, "collusion", 0.6, colluding, psnr)]
    board = table(make_boards(records), "privacy")
    assert board.rows()[:4] == ["murky", "twin", "clear", "leaky"]
    assert [board.cell(row, "rank") for row in board.rows()[:4]] == ["1", "1", "3", "4"]
    assert board.cell("leaky", "worst case") == "75% [30, 95] (collusion rho=0.6)"
    assert board.cell("leaky", "collusion rho=0.6") == "75% [30, 95] · 24.0 dB · 0.25"
    assert board.number("leaky", "worst_recovered") == 0.75


def test_rows_that_show_less_than_the_mean_image_does_share_a_rank(make, make_leak, make_boards, table):
    """Whoever guesses blindly has 11 dB: below that, and at it when rounded, nothing has leaked."""
    rows = {"dim": 5.0, "dark": 10.9, "blind": 11.4, "clear": 11.6}
    records = [record for row, psnr in rows.items() for record in (make(row), make_leak(row, psnr=psnr))]
    board = table(make_boards(records), "privacy")
    assert {row: board.cell(row, "rank") for row in rows} == {"dim": "1", "dark": "1", "blind": "1", "clear": "4"}


def test_controls_stand_below_without_a_rank(make, make_leak, make_boards, table):
    records = [make("krum"), make_leak("krum", control=0.75), make_leak("krum", seed=1, control=0.25)]
    board = table(make_boards(records), "privacy")
    assert board.rows() == ["krum", "control: no defense", "control: mean image, no view"]
    assert board.cell("control: no defense", "dlg") == "50% [1, 99] · 40.0 dB · 1.00"
    assert board.cell("control: mean image, no view", "dlg") == "0% [0, 93] · 11.0 dB · 0.50"
    assert board.cell("control: no defense", "rank") == ""
    assert board.number("control: no defense", "recovered", "dlg") == 0.5


def test_the_accuracy_of_a_trained_model_that_was_attacked(make_leak, make_boards, table):
    records = [make_leak("krum"), make_leak("krum", sweep="trained=50")]
    assert "model" not in table(make_boards(records), "privacy").cell("krum", "dlg trained=50")
    trained = records[1].model_copy(update={"metrics": {**records[1].metrics, "model_accuracy": 0.875}})
    board = table(make_boards([records[0], trained]), "privacy")
    assert board.cell("krum", "dlg trained=50") == "0% [0, 49] · 8.0 dB · 0.25 · model 88%"
    assert board.cell("krum", "dlg") == "0% [0, 49] · 8.0 dB · 0.25"
    assert board.number("krum", "model_accuracy", "dlg trained=50") == 0.875
    assert "its test accuracy" in board.board.caption


def test_without_clean_runs_there_is_no_board_of_utility(make_leak, make_boards, table):
    leaderboard = make_boards([make_leak("krum", recovered=1.0)])
    assert table(leaderboard, "utility").board.text.empty
    assert list(table(leaderboard, "overall").board.text.columns) == ["defense", "privacy", "what breaks it"]


def test_privacy_with_a_missing_or_failed_column(make, make_leak, make_boards, table):
    failed = {"status": "failed", "error": "Error: no", "metrics": {}}
    records = [make("whole"), make_leak("whole", recovered=1.0), make_leak("whole", "collusion", 1.0, 1.0)]
    records += [make("holed"), make_leak("holed")]
    records += [make("broken"), make_leak("broken"), make_leak("broken", "collusion", 1.0, **failed)]
    records += [make_leak("whole", seed=1, **failed)]
    board = table(make_boards(records), "privacy")
    assert board.rows()[:3] == ["whole", "holed", "broken"]
    assert board.cell("holed", "worst case") == board.cell("holed", "collusion rho=1") == "–"
    assert board.cell("broken", "collusion rho=1") == "failed"
    assert board.cell("broken", "worst case") == "–"
    assert board.cell("whole", "dlg") == "100% [51, 100] · 8.0 dB · 0.25 (1 failed)"


def test_boards_stand_when_every_attack_failed(make, make_leak, make_boards, table):
    failed = {"status": "failed", "error": "Error: no", "metrics": {}}
    board = table(make_boards([make("krum"), make_leak("krum", **failed)]), "privacy")
    assert board.cell("krum", "dlg") == "failed"
    assert board.cell("control: no defense", "dlg") == "–"


def test_the_caption_names_the_threshold(make, make_leak, make_boards, table):
    records = [make("krum"), make_leak("krum")]
    assert "at least 20 dB" in table(make_boards(records), "privacy").board.caption
    assert "at least 27.5 dB" in table(make_boards(records, recovered_psnr=27.5), "privacy").board.caption


def test_utility_shows_the_median_cost_of_what_finished(make, make_boards, table):
    seconds = [0.001, 0.002, 0.9]
    records = [
        make("krum", seed=seed, cost=Cost(round_seconds=value, upload_bytes=2600, peer_bytes=1_250_000))
        for seed, value in enumerate(seconds)
    ]
    records.append(make("krum", seed=3, status="diverged", error="no", cost=Cost(round_seconds=100.0)))
    records.append(make("krum", "sign_flip", cost=Cost(round_seconds=50.0)))
    records.append(make("median"))
    board = table(make_boards(records), "utility")
    assert board.cell("krum", "ms a round") == "2.0"
    assert board.cell("krum", "a client uploads") == "2.6 kB"
    assert board.cell("krum", "to other clients") == "1.25 MB"
    assert board.cell("median", "ms a round") == "–"
    assert board.number("krum", "round_seconds", "clean") == 0.002


def test_a_clean_run_that_failed_is_not_the_best(make, make_boards, table):
    records = [make("lucky", accuracy=0.99), make("lucky", accuracy=None, seed=1, status="diverged", error="no")]
    records += [make("steady", accuracy=0.8), make("steady", accuracy=0.8, seed=1)]
    board = table(make_boards(records), "utility")
    assert board.rows() == ["steady", "lucky"]
    assert board.cell("lucky", "clean accuracy") == "99.0 (1 failed)"


def test_noise_left(make, make_leak, make_boards, table):
    records = [make("bare"), make_leak("bare"), make("short"), make_leak("short", noise=1.2)]
    records += [make_leak("short", "collusion", 1.0, noise=0.5), make("holed"), make_leak("holed", noise=0.99)]
    board = table(make_boards(records), "noise")
    assert board.rows() == ["short", "holed"]
    assert board.cell("short", "dlg") == "1.20"
    assert board.cell("short", "collusion rho=1") == "0.50 ✗"
    assert board.cell("holed", "dlg") == "0.99"
    assert board.cell("holed", "collusion rho=1") == "–"


@pytest.mark.parametrize(
    ("mean", "half_width", "flagged"),
    [(0.97, 0.32, False), (0.97, 0.01, True), (0.985, 0.01, False), (0.97, math.nan, False), (0.89, math.nan, True)],
)
def test_a_claim_lacks_noise_beyond_what_sampling_explains(mean: float, half_width: float, flagged: bool) -> None:
    """0.97 +- 0.32 is what a ratio of 1 may well give in three seeds."""
    assert falls_short(Estimate(mean, half_width, seeds=3, failed=0)) is flagged
    assert not falls_short(MISSING)


def test_columns_stand_in_reading_order(make, make_leak, make_boards, table):
    records = [make_leak("krum", "collusion", rho) for rho in (1.0, 0.3)] + [
        make_leak("krum", "aaa"),
        make_leak("krum"),
    ]
    records += [make("krum", "sign_flip", b) for b in (0.4, 0.05)] + [make("krum", "gaussian", 0.1), make("krum")]
    leaderboard = make_boards(records)
    assert list(table(leaderboard, "robustness").board.text.columns)[3:] == [
        "clean", "gaussian b=0.1", "sign_flip b=0.05", "sign_flip b=0.4",
    ]  # fmt: skip
    assert list(table(leaderboard, "privacy").board.text.columns)[3:] == [
        "dlg", "aaa", "collusion rho=0.3", "collusion rho=1",
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- how many are Byzantine


def told(make, make_boards, table, *records):
    return table(make_boards(records), "robustness").board.caption.partition("sample. ")[2].partition(" One seed")[0]


def test_the_count_of_byzantine_clients_stands_below_the_board(make, make_boards, table):
    records = [make("a"), make("a", "ipm", 0.4), make("a", "sign_flip", 0.2)]
    assert told(make, make_boards, table, *records) == "b=0.2 is 2 of 10 clients; b=0.4 is 4 of 10 clients."
    assert told(make, make_boards, table, make("a")) == ""


def test_shares_that_are_the_same_clients_are_told_together(make, make_boards, table):
    records = [make("a", "sign_flip", b) for b in (0.15, 0.2, 0.25, 0.3)]
    same = "b=0.15 and b=0.2 and b=0.25 are each 2 of 10 clients; b=0.3 is 3 of 10 clients."
    assert told(make, make_boards, table, *records) == same


def test_rows_of_other_sizes_have_other_counts(make, make_boards, table):
    records = [make("a", "sign_flip"), make("b", "sign_flip", federation={"assumed_byzantine": 0.1})]
    assert told(make, make_boards, table, *records) == "b=0.2 is 2 of 10 clients."
    cell = records[1].cell
    larger = cell.model_copy(update={"federation": cell.federation.model_copy(update={"clients": 30})})
    both = [records[0], records[1].model_copy(update={"cell": larger})]
    assert told(make, make_boards, table, *both) == "b=0.2 is 2 of 10, or by row 6 of 30 clients."
