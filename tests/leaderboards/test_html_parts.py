"""What the page is made of: numbers that texts begin with, colours and dashes, curves, names in a plot."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leaderboards.html import charts
from leaderboards.html.evidence import MOST_POINTS, thinned
from leaderboards.html.tables import leading_number, sort_keys
from leaderboards.looks import looks


def test_where_rows_are_many_each_has_a_panel_in_which_its_worst_attack_stands_out(make):
    rows = [f"rule {index}" for index in range(charts.MOST_LINES + 1)]
    records = [make(row, curve=[(1, 0.2), (2, 0.9)]) for row in rows]
    ends = [(row, b, end) for row in rows for b, end in ((0.2, 0.6), (0.4, 0.3))]
    records += [make(row, "sign_flip", b, curve=[(1, 0.2), (2, end)]) for row, b, end in ends]
    columns = ["clean", "sign_flip b=0.2", "sign_flip b=0.4"]
    found = charts.panels(records, columns, looks(rows))
    assert [(panel.name, panel.by, panel.said) for panel in found] == [
        (row, "row", "worst: sign_flip b=0.4, 30.0%") for row in rows
    ]
    assert [(curve.name, curve.look) for curve in found[0].curves] == [
        ("sign_flip b=0.2", "other"), ("clean", "clean"), ("sign_flip b=0.4", "worst"),
    ]  # fmt: skip
    (few,) = charts.panels(records[:2], columns, looks(rows))
    assert (few.name, few.by, len(few.curves)) == ("clean", "column", 2)


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


def test_a_curve_is_the_mean_over_the_seeds_that_finished(make):
    records = [make("a", seed=0, curve=[(1, 0.2), (2, 0.4)]), make("a", seed=1, curve=[(1, 0.4), (2, 0.8)])]
    records.append(make("a", seed=2, curve=[(1, 0.0)], status="diverged", error="no"))
    (panel,) = charts.panels(records, ["clean"], looks(["a"]))
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
