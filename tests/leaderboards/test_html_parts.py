"""What the page is made of: numbers that texts begin with, colours and dashes, curves, names in a plot."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.html import charts
from leaderboards.html.evidence import MOST_POINTS, thinned
from leaderboards.html.tables import leading_number, sort_keys


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("92.4 ± 0.5", 92.4), ("48% [35, 61]", 48.0), ("2 (worst 54.1%)", 2.0), ("2.6 kB", 2600.0), ("163 B", 163.0),
        ("1.50 MB", 1.5e6), ("ε = 1.02e+05, δ = 0", 1.02e5), ("ε ≥ 9.6, δ = 1e-06", 9.6), ("-0.03", -0.03),
        ("failed", None), ("none: n > 2", None), ("", None),
    ],
)  # fmt: skip
def test_the_number_that_a_text_begins_with(text, number):
    assert leading_number(text) == number


def test_texts_sort_as_numbers_where_they_are_numbers():
    assert sort_keys(["2.6 kB", "163 B", "–"]) == [2600.0, 163.0, None]
    assert sort_keys(["nothing", "ε = 10", "ε = 2"]) == [None, 10.0, 2.0]
    assert sort_keys(["Krum", "", "3 things", "median"]) == ["krum", None, "3 things", "median"]


def test_rows_differ_in_colour_or_dashes_and_neighbours_in_both():
    found = list(charts.styles(map(str, range(40))).values())
    assert len(set(found)) == 40
    for one, other in itertools.pairwise(found):
        assert one.colour != other.colour
        assert one.dash != other.dash


def test_a_curve_is_the_mean_over_the_seeds_that_finished(make):
    records = [make("a", seed=0, curve=[(1, 0.2), (2, 0.4)]), make("a", seed=1, curve=[(1, 0.4), (2, 0.8)])]
    records.append(make("a", seed=2, curve=[(1, 0.0)], status="diverged", error="no"))
    (panel,) = charts.panels(records, ["clean"], charts.styles(["a"]))
    (curve,) = panel.curves
    assert curve.last == "60.0%"
    top, height = charts.TOP, charts.PANEL[1] - charts.TOP - charts.BOTTOM
    heights = [float(point.split(",")[1]) for point in curve.points.split()]
    assert heights == pytest.approx([top + height * (1 - share) for share in (0.3, 0.6)], abs=0.05)


@given(length=st.integers(1, 500))
def test_a_thinned_curve_is_short_and_keeps_its_end(length):
    curve = [(at, at / length) for at in range(length)]
    found = thinned(curve)
    assert len(found) <= MOST_POINTS
    assert found[-1] == curve[-1]
    assert found == sorted(set(found) & set(curve))
    assert length > MOST_POINTS or found == curve


def test_no_name_in_the_plot_covers_another():
    points = {f"defense_{index}": (charts.PLOT_MARGINS[0], 300.0 + index) for index in range(12)}
    points |= {f"other_{index}": (charts.PLOT[0] - 16.0, 200.0) for index in range(6)}
    places = charts._labels(points)
    boxes = [charts._box(row, *place) for row, place in places.items()]
    for index, box in enumerate(boxes):
        assert not charts._overlaps(box, boxes[:index])
        assert box[0] >= 0
        assert box[2] <= charts.PLOT[0]


def test_no_name_covers_another_where_all_rules_leak_everything():
    points = {f"some_rule_{index}": (charts.PLOT[0] - 16.0, 60.0 + 9 * index) for index in range(33)}
    boxes = [charts._box(row, *place) for row, place in charts._labels(points).items()]
    assert not any(charts._overlaps(box, boxes[:index]) for index, box in enumerate(boxes))
    assert all(box[0] >= charts.PLOT_MARGINS[0] for box in boxes)
