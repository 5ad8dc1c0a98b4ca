"""The heat map's order, its colours and what is said of it; the board of backdoors."""

import io
import math

import pytest
from matplotlib.colors import to_rgba
from PIL import Image

from leaderboards.backdoor import backdoor_boards
from leaderboards.estimates import Estimate, estimates
from leaderboards.frame import columns, select, to_frame
from leaderboards.heat import COLOURS, NOTHING, WORST, heatmap
from leaderboards.pictures import find_pictures
from leaderboards.plots import png

COLUMNS = ["clean", "easy b=0.2", "hard b=0.2"]
SCORES = {"sound": (0.95, 0.9, 0.5), "weak": (0.97, 0.8, 0.1), "broken": (0.9, 0.7, math.nan)}


def value(mean, failed=0):
    return Estimate(mean, math.nan, seeds=3 - failed, failed=failed)


@pytest.fixture
def accuracy():
    found = {
        (row, column): value(score)
        for row, scores in SCORES.items()
        for column, score in zip(COLUMNS, scores, strict=True)
    }
    return found | {("broken", "hard b=0.2"): value(math.nan, failed=3)}


def tick_texts(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def test_the_hardest_column_and_the_best_row_come_first(accuracy):
    axes = heatmap(["broken", "weak", "sound"], COLUMNS, accuracy).axes[0]
    assert tick_texts(axes.xaxis) == [WORST, "hard b=0.2", "easy b=0.2", "clean"]
    assert tick_texts(axes.yaxis) == ["sound", "weak", "broken"]
    assert [text.get_text() for text in axes.texts] == [
        *("50", "50", "90", "95"),
        *("10", "10", "80", "97"),
        *("0", "0°", "70", "90"),
    ]


def test_a_tile_has_the_colour_of_its_accuracy_and_grey_is_nothing(accuracy):
    del accuracy["weak", "easy b=0.2"]
    axes = heatmap(["sound", "weak"], COLUMNS, accuracy).axes[0]
    colours = [patch.get_facecolor() for patch in axes.patches]
    assert colours[:4] == [COLOURS(score) for score in (0.5, 0.5, 0.9, 0.95)]
    assert colours[6] == pytest.approx(to_rgba(NOTHING))
    assert axes.texts[6].get_text() == "–"


def test_thirty_rows_and_twenty_columns_fit_on_a_screen():
    places = ["clean", *(f"attack_number_{index} b=0.2" for index in range(20))]
    rows = [f"defense {index}" for index in range(30)]
    found = {(row, column): value(0.5) for row in rows for column in places}
    picture = Image.open(io.BytesIO(png(heatmap(rows, places, found))))
    assert picture.width < 1500
    assert picture.height < 1100


def test_it_is_among_the_pictures_where_a_table_would_be_too_wide(make, tmp_path):
    narrow = [make("krum", f"attack{index}", accuracy=0.5) for index in range(8)]
    wide = [*narrow, make("krum", "last", accuracy=0.1)]
    assert find_pictures(["krum"], select(narrow), None, 20.0) == []
    (picture,) = find_pictures(["krum"], select(wide), None, 20.0)
    assert picture.name == "heat"
    assert "last b=0.2 (1 of 1 rows)" in picture.sentence
    assert picture.draw().startswith(b"\x89PNG")


def test_backdoors_show_success_beside_accuracy_and_the_lowest_leads(make):
    records = [
        make("fedavg", "backdoor", accuracy=0.9, metrics={"accuracy": 0.9, "backdoor_success": 0.99}),
        make("krum", "backdoor", accuracy=0.8, metrics={"accuracy": 0.8, "backdoor_success": 0.12}),
        make("krum", "ipm", accuracy=0.7),
    ]
    frame = to_frame(records)
    (board,) = backdoor_boards(
        ["fedavg", "krum"], columns(frame), estimates(frame, "backdoor_success"), estimates(frame, "accuracy"), {}
    )
    assert board.text.to_dict("records") == [
        {"defense": "krum", "backdoor b=0.2": "12.0 (accuracy 80.0)"},
        {"defense": "fedavg", "backdoor b=0.2": "99.0 (accuracy 90.0)"},
    ]
    assert board.data["mean"].tolist() == [0.99, 0.12]


def test_a_backdoor_that_failed_is_told_and_leads_nowhere(make):
    """What no seed finished might have been the worst: the row does not lead by its other columns."""
    planted = {"accuracy": 0.9, "backdoor_success": 0.3}
    broken = {"accuracy": None, "status": "failed", "error": "ValueError: no"}
    records = [
        *(make("krum", "backdoor", b, metrics=planted) for b in (0.2, 0.4)),
        make("rfa", "backdoor", 0.2, metrics={**planted, "backdoor_success": 0.1}),
        make("rfa", "backdoor", 0.4, **broken),
    ]
    frame = to_frame(records)
    (board,) = backdoor_boards(
        ["rfa", "krum"], columns(frame), estimates(frame, "backdoor_success"), estimates(frame, "accuracy"), {}
    )
    assert board.text["defense"].tolist() == ["krum", "rfa"]
    assert board.text["backdoor b=0.4"].tolist() == ["30.0 (accuracy 90.0)", "failed (accuracy failed)"]


def test_without_backdoors_there_is_no_such_table(make):
    frame = to_frame([make("krum", "ipm", accuracy=0.7)])
    assert (
        backdoor_boards(
            ["krum"], columns(frame), estimates(frame, "backdoor_success"), estimates(frame, "accuracy"), {}
        )
        == []
    )


@pytest.mark.parametrize("places", [COLUMNS, [COLUMNS[0], *COLUMNS[:0:-1]]], ids=["last", "first"])
def test_a_row_with_a_missing_column_has_no_worst_case(accuracy, places):
    """As on the board of robustness, and wherever the column stands: a minimum with nan depends on the order."""
    del accuracy["sound", "hard b=0.2"]
    axes = heatmap(["sound", "weak"], places, accuracy).axes[0]
    assert tick_texts(axes.yaxis) == ["weak", "sound"]
    assert [text.get_text() for text in axes.texts[4:6]] == ["–", "–"]


def test_an_attack_on_one_row_is_missed_in_no_other(accuracy):
    """What somebody else ran against a single row decides its worst case alone."""
    accuracy["weak", "mine b=0.2"] = value(0.05)
    axes = heatmap(["sound", "weak"], [*COLUMNS, "mine b=0.2"], accuracy, evaluations={"mine b=0.2"}).axes[0]
    assert tick_texts(axes.yaxis) == ["sound", "weak"]
    assert [axes.texts[at].get_text() for at in (0, 5)] == ["50", "5"]


def test_its_sentence_counts_rows_that_have_all_columns(make):
    """A row without a column has no hardest one; nor does it matter in which order the columns come."""
    wide = [make(row, f"attack{index}", accuracy=0.5 - index / 100) for row in ("krum", "rfa") for index in range(9)]
    (picture,) = find_pictures(["krum", "rfa"], select(wide[:-1]), None, 20.0)
    assert picture.sentence.startswith("The worst attacks are most often attack8 b=0.2 (1 of 2 rows);")
    holes = [record for record in wide if record.cell.label == "rfa" or record.cell.attack_name != "attack0"]
    (picture,) = find_pictures(["krum", "rfa"], select(holes[:-1]), None, 20.0)
    assert picture.sentence == "No row has records of all attacks; the hardest columns stand on the left."
