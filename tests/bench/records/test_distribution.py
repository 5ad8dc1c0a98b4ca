"""The statistics of `verify`: how often honest cells are refuted, how far off a forged one must be, and what is early.

Every rate is that of many drawn cells, against a bound that follows from their number.
"""

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from bench.records.comparison import differing
from bench.records.distribution import FALSE_ALARMS, MARGINS, judge, neighbour, shift_of, within_rounding
from bench.suite import load

SEEDS, PLAYS = 3, 5
Draw = Any


def fields(accuracy: float, curve: tuple[float, ...] = (), other: dict[str, float] | None = None) -> dict[str, Any]:
    points = {f"curve.{i}.{j}": (5 * i + 5, value)[j] for i, value in enumerate(curve) for j in (0, 1)}
    return {"status": "ok", "metrics.accuracy": accuracy, **points, **(other or {})}


def answer(published: np.ndarray, played: np.ndarray, alpha: float = 0.01) -> str:
    """Of a cell whose accuracies are published `(seeds,)` and played anew `(seeds, plays)`."""
    given = [fields(float(one)) for one in published]
    return judge(given, [[fields(float(one)) for one in some] for some in played], alpha).answer


def test_numbers_that_only_later_records_have_are_compared_where_both_have_them() -> None:
    old, new = (
        fields(0.9),
        fields(0.9, other={"metrics.worst_class_accuracy": 0.7, "metrics.worst_tenth_accuracy": 0.8}),
    )
    other = fields(0.9, other={"metrics.worst_class_accuracy": 0.4, "metrics.worst_tenth_accuracy": 0.8})
    for one, another in ((old, new), (new, old)):
        assert within_rounding(one, another)
        assert list(differing(one, another, exact=True)) == []
        assert judge([one], [[another, another]], 0.01).answer == "verified"
    assert [found[0] for found in differing(new, other, exact=True)] == ["metrics.worst_class_accuracy"]
    assert not within_rounding(new, other)
    assert judge([new], [[other, other]], 0.01).answer == "refuted"
    assert [one[0] for one in differing(old, fields(0.9, other={"metrics.more": 1.0}), exact=True)] == ["metrics.more"]


def test_one_seed_gives_the_t_test_of_one_value_against_its_plays() -> None:
    plays = [0.71, 0.74, 0.70, 0.78, 0.73]
    found = shift_of("accuracy", [0.79], [plays], 0.01)
    expected = stats.ttest_ind([0.79], plays)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9)
    assert found.centre == pytest.approx(0.79 - np.mean(plays))
    at_the_edge = shift_of("accuracy", [float(np.mean(plays)) + found.reach], [plays], 0.01)
    assert at_the_edge.p == pytest.approx(0.01, rel=1e-9)


def test_seeds_of_unlike_spread_have_welchs_degrees_of_freedom() -> None:
    """Two seeds with as many plays each: the weights of their variances are those of a comparison of two means."""
    one, two = [0.5, 0.6, 0.9, 0.3], [0.51, 0.52, 0.50, 0.53]
    found = shift_of("accuracy", [0.6, 0.7], [one, two], 0.01)
    freedom = stats.ttest_ind(one, two, equal_var=False).df
    error = math.sqrt((np.var(one, ddof=1) + np.var(two, ddof=1)) * (1 + 1 / 4)) / 2
    assert found.reach == pytest.approx(stats.t.ppf(0.995, freedom) * error, rel=1e-9)


def collapsing(generator: np.random.Generator) -> Draw:
    """One play in fifty collapses, ten spreads away."""
    return lambda low, high, size: generator.normal(low, high, size) - 10 * (generator.random(size) < 0.02)


@pytest.mark.parametrize("law", ["normal", "uniform", "laplace", "collapsing", "normal of unlike seeds"])
def test_honest_cells_are_refuted_no_more_often_than_is_said(law: str) -> None:
    """2000 cells at an error rate of 0.05, half of which accuracy has: at most 0.025 but for chance (4 sigma).

    That each seed lies beyond its plays has, whatever the law, a chance of 2 / 6^3 at most; the t test alone refutes
    3.8 % of Laplace's and 5 % of those that collapse.
    """
    generator, cells = np.random.default_rng(0), 2000
    laws = {"uniform": generator.uniform, "laplace": generator.laplace, "collapsing": collapsing(generator)}
    draw: Draw = laws.get(law, generator.normal)
    low, high = (-1.0, 1.0) if law == "uniform" else (0.0, 1.0)
    spread = np.array([0.2, 1.0, 3.0]) if "unlike" in law else np.ones(3)
    values = 0.5 + 0.05 * spread[:, None] * draw(low, high, (cells, SEEDS, 1 + PLAYS))
    refuted = sum(answer(one[:, 0], one[:, 1:], alpha=0.05) == "refuted" for one in values)
    assert 0 < refuted <= 2 / 6**3 * cells + 4 * math.sqrt(2 / 6**3 * cells)


@pytest.mark.parametrize(
    ("spread", "plays", "at_least"), [(0.0, 5, 1.0), (0.002, 5, 0.9), (0.002, 17, 1.0), (0.005, 17, 0.8)]
)
def test_two_points_more_in_all_seeds_are_refuted(spread: float, plays: int, at_least: float) -> None:
    """At the rate that one of 100 cells has; spreads are of one seed under several arithmetics."""
    generator, cells = np.random.default_rng(1), 300
    values = 0.5 + spread * generator.normal(size=(cells, SEEDS, 1 + plays))
    found = [answer(one[:, 0] + 0.0205, one[:, 1:], FALSE_ALARMS / 100) for one in values]
    assert found.count("refuted") >= at_least * cells - 4 * math.sqrt(at_least * (1 - at_least) * cells)


@pytest.mark.parametrize("spread", [0.001, 0.004, 0.01, 0.03, 0.1])
def test_two_points_more_are_never_verified_whatever_the_spread(spread: float) -> None:
    """`verified` says that a shift by the margin is excluded; its own error rate is that of the test."""
    generator = np.random.default_rng(2)
    values = 0.5 + spread * generator.normal(size=(400, SEEDS, 1 + PLAYS))
    margin = MARGINS["accuracy"].absolute
    assert "verified" not in [answer(one[:, 0] + margin, one[:, 1:], FALSE_ALARMS / 100) for one in values]


def test_honest_cells_are_verified_where_rounding_is_small_and_cannot_be_told_where_it_is_not() -> None:
    generator = np.random.default_rng(3)
    noise = generator.normal(size=(200, SEEDS, 1 + 16))
    small = [answer(one[:, 0], one[:, 1:], FALSE_ALARMS / 100) for one in 0.5 + 0.002 * noise]
    large = [answer(one[:, 0], one[:, 1:], FALSE_ALARMS / 100) for one in 0.5 + 0.05 * noise]
    assert small.count("verified") >= 190
    assert "refuted" not in small
    assert set(large) == {"cannot tell"}


@pytest.mark.parametrize(("more", "expected"), [(1 / 300, "verified"), (0.01, "refuted"), (-0.01, "refuted")])
def test_where_every_play_gives_the_same_an_image_is_rounding_and_a_point_is_not(more: float, expected: str) -> None:
    assert answer(np.full(3, 0.9) + more, np.full((3, 5), 0.9)) == expected


def test_the_reason_says_the_shift_its_bound_and_its_rate() -> None:
    found = judge([fields(0.95)], [[fields(0.9), fields(0.9)]], 1e-3)
    assert found.reasons == ("metrics.accuracy is 0.95, but playing it anew gives 0.9",)
    plays = [fields(0.9 + 0.006 * (i % 2)) for i in range(17)]
    (reason,) = judge([fields(0.95)], [plays], 1e-3).reasons
    assert reason.startswith("metrics.accuracy is 0.04718 above what was played anew; rounding takes it 0.014 at most")
    assert "refuted below 0.0005)" in reason


def test_one_seed_of_three_is_refuted_where_its_plays_agree() -> None:
    """Two honest seeds, one of which rounding changes visibly, and five points more in a third."""
    plays = np.full((3, 5), 0.9)
    plays[1] += [0.0, 0.01, 0.02, 0.03, 0.04]
    assert answer(np.array([0.9, 0.92, 0.9]), plays) == "cannot tell"
    assert answer(np.array([0.9, 0.92, 0.95]), plays) == "refuted"


def test_curves_are_compared_tightly_in_the_first_half_before_plays_part() -> None:
    """Plays part at the fifth evaluation: the first two are early, and one changed there is refuted for itself."""
    honest = (0.3, 0.5, 0.6, 0.65, 0.7, 0.75)
    plays = [[fields(0.75, honest), fields(0.6, (*honest[:4], 0.6, 0.6)), fields(0.9, (*honest[:4], 0.8, 0.9))]]
    changed = (0.3, 0.52, *honest[2:])
    found = judge([fields(0.75, changed)], plays, 1e-6)
    assert found.answer == "refuted"
    assert (
        "accuracy after round 10 is 0.52, but playing it anew gives 0.5, before rounding differences grow"
        in (found.reasons[0])
    )
    later = (*honest[:5], 0.8)
    assert judge([fields(0.8, later)], plays, 1e-6).answer == "cannot tell"


def test_what_rounding_cannot_change_is_refuted_unless_plays_differ_in_it_themselves() -> None:
    told = fields(0.9, other={"derived.sigma": 1.0})
    other = fields(0.9, other={"derived.sigma": 2.0})
    found = judge([told], [[other, other]], 1e-3)
    assert (found.answer, found.reasons) == ("refuted", ("derived.sigma is 1.0, but playing it anew gives 2.0",))
    diverged = {"status": "diverged"}
    assert judge([diverged], [[fields(0.9), fields(0.9)]], 1e-3).answer == "refuted"
    assert judge([diverged], [[fields(0.9), diverged]], 1e-3).answer == "cannot tell"


def test_within_rounding_is_one_image_and_the_last_digits() -> None:
    assert within_rounding(
        fields(0.9, other={"metrics.loss": 0.5}), fields(0.9 + 1 / 300, other={"metrics.loss": 0.50001})
    )
    assert not within_rounding(fields(0.9), fields(0.91))


def test_a_neighbour_differs_in_the_last_places_of_its_learning_rate_alone() -> None:
    for cell in load("smoke").cells():
        assert neighbour(cell, 0) is cell
        kind = np.dtype(cell.federation.dtype).type
        rates = {kind(neighbour(cell, steps).federation.lr) for steps in range(5)}
        assert len(rates) == 5
        assert max(rates) / cell.federation.lr - 1 < 10 * np.finfo(kind).eps
        again = neighbour(cell, 1).federation.model_copy(update={"lr": cell.federation.lr})
        assert neighbour(cell, 1).model_copy(update={"federation": again}) == cell
