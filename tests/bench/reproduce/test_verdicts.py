"""The rules: each verdict from numbers that were made up for it."""

from typing import Any

import numpy as np
import pytest

from bench import registry
from bench.privacy.papers.shuffle import analyzer_variance, shuffle_gamma
from bench.reproduce import (
    dpbfl_fig5,
    dpbfl_fig8,
    dpbfl_fig11,
    dpbfl_table1,
    dpbfl_table2,
    dpbfl_table3,
    niss_fig3,
    niss_theorems,
)
from bench.reproduce import dpbfl_shuffle_sum as shuffle_sum
from bench.reproduce import dpbfl_theorem5 as theorem5
from bench.reproduce.intervals import Mean, mean_of
from bench.reproduce.item import Statement, Verdict, judge
from bench.reproduce.papers import stated

REPRODUCED, SHAPE, NOT = Verdict.REPRODUCED, Verdict.SHAPE, Verdict.NOT
B = (0.0, 0.3, 0.4, 0.5)
PAPER: dict[str, list[float]] = stated()["dpbfl-table1"].number("accuracy")
SECOND, THIRD, FOURTH = [row for row in PAPER if "gamma" in row]


def exactly(value: float) -> Mean:
    return Mean(value, 0.01 * value, 8)


def test_statements_hold_all_or_are_named() -> None:
    fine, off = Statement("a", True, "1"), Statement("b is so", False, "it is 2")
    assert judge([fine, fine]).verdict == SHAPE
    assert judge([fine, off]).verdict == NOT
    assert "1 of 2" in judge([fine, off]).reason
    assert "b is so (it is 2)" in judge([fine, off]).reason


# ------------------------------------------------------------------------------------------------------------ table 1


def table1(**changes: tuple[int, float]) -> Any:
    ours = {row: list(values) for row, values in PAPER.items()}
    names = {"rsa": "rsa", "second": SECOND, "third": THIRD, "fourth": FOURTH}
    for name, (at, value) in changes.items():
        ours[names[name]][at] = value
    return dpbfl_table1.verdict(ours, PAPER, B)


def test_the_papers_own_numbers_are_reproduced() -> None:
    assert table1().verdict == REPRODUCED
    assert table1(rsa=(3, 45.0)).verdict == REPRODUCED  # a coin toss (D21)
    assert table1(third=(2, 10.3)).verdict == REPRODUCED  # lost is lost


def test_numbers_that_differ_on_the_same_side_are_the_shape() -> None:
    found = table1(rsa=(0, 86.0), fourth=(1, 79.3))
    assert found.verdict == SHAPE
    assert "2 numbers differ" in found.reason


@pytest.mark.parametrize("accuracy", [57.5, 30.0])
def test_a_cell_that_is_not_kept_as_in_the_paper_is_named(accuracy: float) -> None:
    found = table1(second=(2, accuracy))
    assert found.verdict == NOT
    assert "15 of 16" in found.reason
    assert f"{SECOND} at b = 40%" in found.reason


def test_a_larger_gamma_that_does_better_breaks_the_order() -> None:
    found = table1(second=(1, 80.0), third=(1, 86.0))
    assert found.verdict == NOT
    assert "is above" in found.reason


# -------------------------------------------------------------------------------------------- tables 2 and 3, figures


@pytest.mark.parametrize(("shift", "verdict"), [(0.0, REPRODUCED), (1e-12, SHAPE), (1e-4, NOT)])
def test_table_3_wants_all_digits(shift: float, verdict: Verdict) -> None:
    printed = stated()["dpbfl-table3"].number("epsilon")
    assert (
        dpbfl_table3.verdict({n: float(text) * (1 + shift) for n, text in printed.items()}, printed).verdict == verdict
    )


def marks(efficient: bool = True, inference: bool = True, byzantine: bool = True) -> dpbfl_table2.Marks:
    return dpbfl_table2.Marks("DP", efficient, inference, byzantine, 1, 1, 0, 1, 0.9, 0.8)


def test_table_2_compares_marks_but_for_dashes() -> None:
    paper = stated()["dpbfl-table2"].number("schemes")
    secure, ldp = marks(efficient=False, byzantine=False), marks(byzantine=False)
    mine = {"DPBFL": marks(), "Practical Secure Aggregation": secure, "LDP-Fed": ldp}
    assert dpbfl_table2.verdict(mine, paper).verdict == REPRODUCED
    assert dpbfl_table2.verdict({**mine, "LDP-Fed": marks()}, paper).verdict == SHAPE
    assert dpbfl_table2.verdict({**mine, "DPBFL": ldp}, paper).verdict == NOT
    blind = marks(efficient=False, inference=False, byzantine=False)
    assert dpbfl_table2.verdict({**mine, "Practical Secure Aggregation": blind}, paper).verdict == REPRODUCED


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("secure_aggregation", "SMC"), ("dpbfl", "DP"), ("dp_fedavg", "DP"), ("fedavg", "–"), ("krum", "–")],
)
def test_table_2_s_tools_are_what_a_defense_does(name: str, wanted: str) -> None:
    assert dpbfl_table2.tools(registry.get("defense", name)()) == wanted


def test_fig_5_compares_the_law() -> None:
    assert dpbfl_fig5.verdict({"a": (0.41, 0.40), "b": (0.9, 0.5)}).verdict == SHAPE
    assert dpbfl_fig5.verdict({"a": (0.5, 0.40)}).verdict == NOT


@pytest.mark.parametrize(("dpbfl", "verdict"), [(1.2, SHAPE), (0.9, NOT), (1.9, NOT), (4.6, NOT)])
def test_fig_8_puts_dpbfl_between_fedavg_and_the_others(dpbfl: float, verdict: Verdict) -> None:
    found = {"fedavg": 1.0, dpbfl_fig8.DPBFL: dpbfl, "rsa": 1.8, "median": 1.5, "krum": 3.0}
    assert judge(dpbfl_fig8.statements(found)).verdict == verdict


def test_fig_8_compares_each_round_with_fedavgs() -> None:
    assert dpbfl_fig8.ratios({"fedavg": [1.0, 2.0], "rsa": [2.0, 3.0]}) == {"fedavg": [1, 1], "rsa": [2, 1.5]}


def test_fig_11_wants_dpbfl_slightly_below_and_alive_at_40_percent() -> None:
    last = {(row, b): 60.0 for row in dpbfl_fig11.ROWS for b in dpbfl_fig11.BYZANTINE}
    mine = dpbfl_fig11.ROWS[2]
    assert judge(dpbfl_fig11.statements({**last, (mine, 0.0): 58.0, (mine, 0.4): 40.0}, "m")).verdict == SHAPE
    assert judge(dpbfl_fig11.statements({**last, (mine, 0.0): 50.0, (mine, 0.4): 40.0}, "m")).verdict == NOT
    assert judge(dpbfl_fig11.statements({**last, (mine, 0.0): 58.0, (mine, 0.4): 20.0}, "m")).verdict == NOT
    assert judge(dpbfl_fig11.statements({**last, (mine, 0.0): 9.0, (mine, 0.4): 9.0}, "m")).verdict == NOT
    good = {**last, (mine, 0.0): 58.0, (mine, 0.4): 40.0}
    assert judge(dpbfl_fig11.statements(good, "m", alone=39.0)).verdict == SHAPE
    assert judge(dpbfl_fig11.statements(good, "m", alone=40.0)).verdict == NOT


def test_fig_3_of_niss_wants_order_and_gaps_from_one_reading() -> None:
    fits, wide, mixed = [90.0, 86.0, 82.0, 77.5], [90.0, 60.0, 40.0, 20.0], [90.0, 70.0, 75.0, 77.5]
    span = (12.0, 13.0)
    assert niss_fig3.verdict({"a": [(fits, span)], "b": [(wide, span)]}).verdict == REPRODUCED
    assert niss_fig3.verdict({"a": [(fits, span), (wide, span)], "b": [(wide, span)] * 2}).verdict == SHAPE
    assert niss_fig3.verdict({"a": [(mixed, span)]}).verdict == NOT
    assert niss_fig3.verdict({"a": [([90.0, 90.0, 89.0, 88.0], span)]}).verdict == NOT
    judged = niss_fig3.verdict({"a": [(mixed, span)], "b": [([90.0, 0.0, 0.0, 0.0], span)]}, diverging={"b": 1})
    assert judged.verdict == NOT
    assert judged.reason.endswith("; training diverges under b in 1 of 1 panels")


# ----------------------------------------------------------------------------------------------------------- theorems


def sums(*epsilons: float, factor: float = 1.0) -> Any:
    points = [({"n": 10_000, "epsilon": one, "nonzero": 10_000}, shuffle_gamma(10_000, one, 1e-6)) for one in epsilons]
    return shuffle_sum.sum_verdict(
        [(point, gamma, exactly(factor * analyzer_variance(10_000, 10_000, gamma))) for point, gamma in points]
    )


def test_theorem_2_of_dpbfl_wants_one_constant() -> None:
    assert sums(0.4, 0.9).verdict == REPRODUCED
    assert sums(0.4, 0.9, 0.26).verdict == SHAPE
    assert sums(0.4, factor=2.0).verdict == NOT


def test_theorem_3_of_dpbfl_counts_what_lies_beyond() -> None:
    assert shuffle_sum.tail_verdict([(0.1, 9_000, 100_000), (0.01, 0, 100_000)]).verdict == REPRODUCED
    assert shuffle_sum.tail_verdict([(0.1, 9_990, 100_000)]).verdict == NOT  # not sure enough
    assert shuffle_sum.tail_verdict([(0.1, 20_000, 100_000)]).verdict == NOT


def case(b: float, distance: float, printed: float, corrected: float) -> theorem5.Case:
    point = {"gamma": 0.3, "byzantine": b}
    return point, [0], np.array([distance]), np.array([printed]), np.array([corrected])


def test_theorem_5_holds_as_printed_or_with_the_bias() -> None:
    assert theorem5.verdict([case(0, 1, 2, 2), case(0.2, 1, 2, 2)]).verdict == REPRODUCED
    assert theorem5.verdict([case(0, 1, 2, 2), case(0.2, 3, 2, 4)]).verdict == SHAPE
    assert theorem5.verdict([case(0, 1, 2, 2), case(0.2, 5, 2, 4)]).verdict == NOT
    assert theorem5.verdict([case(0, 3, 2, 4), case(0.2, 1, 2, 4)]).verdict == NOT


def check(measured: float, printed: float | None, corrected: float) -> niss_theorems.Check:
    return niss_theorems.Check("x", exactly(measured), printed, corrected, "N1")


def test_theorem_2_of_niss_holds_as_printed_or_corrected() -> None:
    fine, off, silent = check(1, 1, 1), check(2, 1, 2), check(2, None, 2)
    assert niss_theorems.verdict_2([fine], [fine, silent]).verdict == REPRODUCED
    assert niss_theorems.verdict_2([fine], [off]).verdict == SHAPE
    assert niss_theorems.verdict_2([off], [fine]).verdict == NOT
    assert niss_theorems.verdict_2([fine], [check(2, 1, 3)]).verdict == NOT


def left(scale: str, measured: float, printed: float, corrected: float) -> Any:
    return {"scale": scale, "rho": 0.8, "tau_squared": 0.6}, check(measured, printed, corrected)


def test_theorem_3_of_niss_holds_for_both_ways_to_draw_s_or_one() -> None:
    mine, theirs = left("coordinate", 1, 1, 1), left("share", 1, 1, 1)
    assert niss_theorems.verdict_3([mine, theirs]).verdict == REPRODUCED
    assert niss_theorems.verdict_3([mine, left("share", 0.52, 1, 0.52)]).verdict == SHAPE
    assert niss_theorems.verdict_3([left("coordinate", 0.5, 1, 1), theirs]).verdict == NOT
    assert niss_theorems.verdict_3([mine, left("share", 0.52, 1, 0.8)]).verdict == NOT


def test_agreement_is_decided_at_the_stated_level() -> None:
    found = mean_of([0.9, 1.0, 1.1, 1.0])
    assert found.agrees(1.0, 10)
    assert not found.agrees(3.0, 10)
    assert mean_of([0.0, 0.0]).agrees(0.0, 1)
    assert not mean_of([0.0, 0.0]).agrees(0.1, 1)
