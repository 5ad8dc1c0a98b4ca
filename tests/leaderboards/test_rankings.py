"""Which rows seeds tell apart: the tests by hand, false alarms by Monte Carlo, and what stands on the boards."""

import math

import numpy as np
import pytest
from scipy.stats import binom

from leaderboards.board import REACH
from leaderboards.formats import FORMATS
from leaderboards.rankings import groups, holm, intervals, ranking, scored, told_apart

TRIES = 600
MOST = binom.ppf(0.9995, TRIES, 0.05) / TRIES
"""The share of false alarms that a rate of 5 % stays below, but with probability 0.0005 for each test here."""


def column(*values: float):
    return scored(np.array(values)[:, None])


def test_the_score_is_the_lowest_mean_and_one_column_stands_for_itself():
    found = scored(np.array([[0.9, 0.5], [0.7, 0.6], [0.8, 0.4]]))
    assert found.score == pytest.approx(0.5)
    assert found.values == pytest.approx([0.5, 0.6, 0.4])


def test_choosing_the_worst_column_is_part_of_the_spread():
    """Without the first seed the other column is the worst: 2 * 0.5 - 0.4 and 2 * 0.5 - 0.3."""
    found = scored(np.array([[0.3, 0.7], [0.9, 0.4]]))
    assert found.score == pytest.approx(0.55)
    assert found.values == pytest.approx([2 * 0.55 - 0.4, 2 * 0.55 - 0.3])


def test_two_rows_by_the_paired_t_test():
    """Differences 0.10, 0.12, 0.14: t = 0.12 / (0.02 / sqrt 3) = 10.4 with two degrees of freedom, p = 0.0091."""
    one, other = column(0.8, 0.7, 0.9), column(0.70, 0.58, 0.76)
    assert told_apart([one, other])[0, 1]
    assert told_apart([one, other], error_rate=0.0092)[0, 1]
    assert not told_apart([one, other], error_rate=0.0090)[0, 1]


def test_one_seed_tells_nobody_apart():
    assert not told_apart([column(0.9), column(0.1)]).any()


def test_a_difference_that_is_the_same_in_all_seeds_is_as_sure_as_its_grain():
    one, other = column(0.50, 0.60, 0.40), column(0.49, 0.59, 0.39)
    assert told_apart([one, other])[0, 1]
    assert not told_apart([one, other], grain=1 / 100)[0, 1]
    assert not told_apart([one, one], grain=0.0).any()


def test_holm_by_hand():
    """Holm 1979: 0.01 <= 0.05 / 4, 0.013 <= 0.05 / 3, but 0.03 > 0.05 / 2, and so nothing after it."""
    assert holm(np.array([0.03, 0.01, 0.026, 0.013]), 0.05).tolist() == [False, True, False, True]
    assert holm(np.array([0.001, 0.002]), 0.05).all()


def test_groups_and_intervals_by_hand():
    """a > c, a > d, b > d: b is not told apart from a, c not from b, d not from c."""
    apart = np.zeros((4, 4), dtype=bool)
    for one, other in ((0, 2), (0, 3), (1, 3)):
        apart[one, other] = apart[other, one] = True
    assert groups(range(4), apart) == [[0, 1], [2, 3]]
    assert intervals([0.9, 0.8, 0.7, 0.6], apart) == [(1, 2), (1, 3), (2, 4), (3, 4)]


def test_a_group_shares_its_first_rank_and_what_has_no_number_stands_below():
    rows = {"a": column(0.90, 0.91, 0.92), "b": column(0.92, 0.90, 0.90), "c": column(0.10, 0.12, 0.11)}
    found = ranking({"a": 1, "c": 3, "b": 2, "d": 4, "e": None}, rows)
    assert found.ranks == {"a": 1, "b": 1, "c": 3, "d": 4, "e": None}
    assert found.group == {"a": 1, "b": 1, "c": 2, "d": 3}
    assert found.interval == {"a": (1, 2), "b": (1, 2), "c": (3, 3), "d": (4, 4)}


def test_with_one_seed_ranks_are_by_score_alone():
    found = ranking({"a": 2, "b": 1, "c": None}, {"a": column(0.1), "b": column(0.9)})
    assert (found.ranks, found.interval, found.group) == ({"a": 2, "b": 1, "c": None}, {}, {"b": 1, "a": 2})


def false_alarms(draw, seeds: int, rows: int) -> float:
    """How often a board of equal rows tells any two apart."""
    return float(np.mean([told_apart([scored(draw(row)) for row in range(rows)]).any() for _ in range(TRIES)]))


@pytest.mark.parametrize(("seeds", "rows"), [(3, 9), (5, 6), (10, 4)])
@pytest.mark.parametrize("kind", ["equal", "unequal spreads", "twenty equal columns", "heavy tails"])
def test_equal_rows_share_a_group_at_the_stated_rate(seeds: int, rows: int, kind: str):
    random = np.random.default_rng(1)

    def draw(row: int):
        if kind == "heavy tails":
            return 0.8 + 0.01 * random.standard_t(3, (seeds, 1))
        columns = 20 if kind == "twenty equal columns" else 1
        spread = 0.002 * 3**row if kind == "unequal spreads" else 0.01
        return 0.8 + random.normal(0, min(spread, 0.2), (seeds, columns))

    assert false_alarms(draw, seeds, rows) <= MOST


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_rows_with_one_and_with_many_equal_columns_are_told_apart_in_no_more_than_a_tenth(seeds: int):
    """The lowest of twenty equal means lies 1.87 standard errors too low: the worst case of choosing a column.

    A test of each seed's own minimum tells such rows apart in 32 % to all of the boards.
    """
    random = np.random.default_rng(2)
    found = false_alarms(lambda row: 0.8 + random.normal(0, 0.01, (seeds, 20 if row else 1)), seeds, 2)
    assert found <= binom.ppf(0.9995, TRIES, 0.1) / TRIES


def test_the_intervals_hold_all_true_ranks_at_once():
    """Nine rows, three by three alike: an equal row's true rank is any of its three."""
    random, true = np.random.default_rng(3), np.repeat([0.9, 0.8, 0.7], 3)
    held = 0
    for _ in range(TRIES):
        rows = [scored(one + random.normal(0, 0.01, (5, 1))) for one in true]
        found = intervals([row.score for row in rows], told_apart(rows))
        held += all(low <= 1 + 3 * (i // 3) and 3 + 3 * (i // 3) <= high for i, (low, high) in enumerate(found))
    assert held / TRIES >= 1 - MOST


# ----------------------------------------------------------------------------------------------------- on the boards


@pytest.fixture
def close(make, make_boards):
    """Two rows that five seeds do not tell apart, and one that they do."""
    noise = (0.01, -0.02, 0.0, 0.02, -0.01)
    records = []
    for seed, luck in enumerate(noise):
        records += [make(row, accuracy=0.9, seed=seed) for row in ("a", "b", "c")]
        records += [
            make("a", "sign_flip", accuracy=0.80 + luck, seed=seed),
            make("b", "sign_flip", accuracy=0.81 - luck, seed=seed),
        ]
        records += [make("c", "sign_flip", accuracy=0.3 + luck / 2, seed=seed)]
    return make_boards(records, seeds=5)


def test_rows_that_cannot_be_told_apart_share_a_rank_on_the_board(close, table):
    board = table(close, "robustness")
    assert board.rows() == ["b", "a", "c"]
    assert [board.cell(row, "rank") for row in "bac"] == ["1", "1", "3"]
    assert [board.cell(row, REACH) for row in "bac"] == ["1–2", "1–2", "3"]
    assert "Rows that 5 seeds do not tell apart share a rank" in board.board.caption
    assert [board.number(row, "rank_group") for row in "bac"] == [1, 1, 2]
    assert [board.number("a", "rank", part=part) for part in ("mean", "low", "high")] == [1, 1, 2]
    assert table(close, "overall").cell("a", "robustness") == "1 (worst 80.0%)"


def test_groups_are_drawn_on_the_page(close):
    page = FORMATS["html"](close)
    robustness = page.split('id="table-robustness"')[1].split("</table>")[0]
    assert robustness.count('<tr class="even"') == 1
    assert '<tr class="even" data-row="c">' in robustness


def test_where_all_rows_are_the_same_nobody_is_told_apart(close, table):
    assert [table(close, "utility").cell(row, "rank") for row in "abc"] == ["1", "1", "1"]


def test_a_failed_row_is_told_apart_as_its_score_is(make, make_boards, table):
    records = [make(row, "sign_flip", accuracy=0.8 + seed / 100, seed=seed) for row in "ab" for seed in range(4)]
    records += [make("b", "sign_flip", accuracy=None, seed=4, status="diverged"), make("a", "sign_flip", seed=4)]
    board = table(make_boards(records, seeds=5), "robustness")
    assert (board.cell("a", REACH), board.cell("b", REACH)) == ("1", "2")


def test_one_seed_says_that_ranks_are_by_score_alone(make, make_boards, table):
    board = table(make_boards([make("a", "ipm"), make("b", "ipm", accuracy=0.1)]), "robustness")
    assert [board.cell(row, "rank") for row in "ab"] == ["1", "2"]
    assert "by score alone" in board.board.caption
    assert REACH not in board.board.text
    assert math.isnan(board.number("a", "rank", part="low"))


def test_privacy_is_better_where_less_is_recovered(make_leak, make_boards, table):
    shares = {"closed": (0.0, 0.0, 0.0, 0.0), "open": (1.0, 1.0, 0.9, 1.0), "ajar": (0.0, 0.1, 0.0, 0.0)}
    records = [
        make_leak(row, recovered=one, seed=seed, images=16) for row in shares for seed, one in enumerate(shares[row])
    ]
    board = table(make_boards(records, seeds=4), "privacy")
    assert [board.cell(row, "rank") for row in ("closed", "ajar", "open")] == ["1", "1", "3"]
    assert board.rows()[:3] == ["closed", "ajar", "open"]
