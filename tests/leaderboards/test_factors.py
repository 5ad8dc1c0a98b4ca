"""Boards and pictures of factors: which numbers stand where, and that the base's boards know nothing of them."""

import io
import math

import pytest
from PIL import Image

from bench.records.record import ByzantineCount
from bench.suite.factors import Design, Level
from leaderboards.boards import build
from leaderboards.factors import effects, factor_boards, split
from leaderboards.formats import FORMATS
from leaderboards.frame import select
from leaderboards.levels import by_level
from leaderboards.pictures import find_pictures
from leaderboards.plots import png

EPOCHS = [Level("E", name, {"local_epochs": int(name)}, None, ("rsa",)) for name in ("1", "5")]
SKEW = [Level("skew", name, {"alpha": alpha}, None) for name, alpha in (("Dir(1)", 10.0), ("Dir(0.1)", 1.0))]
DESIGNS = [Design("E", tuple(EPOCHS), EPOCHS[0]), Design("skew", tuple(SKEW), SKEW[0])]

# (row, level) -> clean, sign_flip, ipm
SCORES = {
    ("median", ""): (0.9, 0.8, 0.7),
    ("median", "E: 5"): (0.95, 0.4, 0.6),
    ("median", "skew: Dir(0.1)"): (0.85, 0.3, 0.2),
    ("rsa", ""): (0.8, 0.75, 0.78),
    ("rsa", "skew: Dir(0.1)"): (0.7, 0.65, 0.6),
}


def at(record, level: str):
    return record.model_copy(update={"cell": record.cell.model_copy(update={"level": level})})


@pytest.fixture
def records(make):
    found = []
    for (row, level), scores in SCORES.items():
        for attack, accuracy in zip((None, "sign_flip", "ipm"), scores, strict=True):
            changes = {"E: 5": {"batch_size": 5}, "skew: Dir(0.1)": {"alpha": 1.0}}.get(level, {})
            for seed in (0, 1):
                made = make(row, attack, accuracy=accuracy + 0.01 * seed, seed=seed, federation=changes)
                found.append(at(made, level))
    return found


ROWS = ["median", "rsa"]


def test_the_base_boards_hold_the_base_case_alone(records):
    base = [record for record in records if not record.cell.level]
    designed = build("f", "t", 2, select(records), rows=ROWS, designs=DESIGNS)
    plain = build("f", "t", 2, select(base), rows=ROWS)
    for one, other in zip(designed.boards, plain.boards, strict=False):
        assert one.text.equals(other.text)
        assert one.data.equals(other.data)
    assert [board.name for board in designed.boards[len(plain.boards) :]] == ["factor-e", "factor-skew"]
    assert designed.records == len(records)


def test_levels_stand_as_if_in_the_base_columns(records):
    base, levels = split(select(records))
    assert {record.cell.level for record in base.records} == {""}
    assert set(levels) == {"E: 5", "skew: Dir(0.1)"}
    assert {record.cell.column for record in levels["E: 5"]} == {"clean", "sign_flip b=0.2", "ipm b=0.2"}


def test_an_effect_is_the_worst_attack_of_each_level(records):
    epochs, skew = effects(ROWS, DESIGNS, select(records))
    assert (epochs.levels, epochs.base, epochs.skewed, skew.skewed) == (("1", "5"), "1", False, True)
    assert epochs.scores("median") == pytest.approx([0.705, 0.405])
    assert [epochs.cells["median", level].attack for level in epochs.levels] == ["ipm b=0.2", "sign_flip b=0.2"]
    assert [epochs.cells["median", level].clean.mean for level in epochs.levels] == pytest.approx([0.905, 0.955])
    assert skew.scores("median") == pytest.approx([0.705, 0.205])
    assert skew.median_range(ROWS) == pytest.approx((0.5 + 0.15) / 2)


def test_a_row_without_a_level_has_a_dash_and_counts_nowhere(records):
    epochs, _ = effects(ROWS, DESIGNS, select(records))
    assert math.isnan(epochs.scores("rsa")[1])
    assert epochs.median_range(ROWS) == pytest.approx(0.3)
    board, _ = factor_boards(ROWS, effects(ROWS, DESIGNS, select(records)))
    assert list(board.text.columns) == ["defense", "1 (base)", "5"]
    assert board.text.iloc[1]["5"] == "–"
    assert board.text.iloc[0]["5"].startswith("40.5 ± 6.4 (sign_flip), clean 95.5")
    assert "Not played: rsa" in board.caption


def test_a_level_whose_attack_is_missing_has_no_worst(records):
    fewer = [
        one for one in records if (one.cell.level, one.cell.attack_name, one.cell.label) != ("E: 5", "ipm", "median")
    ]
    assert len(fewer) < len(records)
    epochs, _ = effects(ROWS, DESIGNS, select(fewer))
    assert epochs.scores("median")[1] == pytest.approx(0.405)  # nobody was played against it at that level
    others = [one for one in records if (one.cell.level, one.cell.attack_name) != ("skew: Dir(0.1)", "ipm")]
    others += [one for one in records if one.cell.label == "rsa" and one.cell.level == "skew: Dir(0.1)"]
    _, skew = effects(ROWS, DESIGNS, select(others))
    assert math.isnan(skew.scores("median")[1])


def test_a_clean_run_that_a_level_does_not_change_is_that_of_the_base(records):
    federation = records[0].cell.federation
    fewer = [
        one.model_copy(update={"cell": one.cell.model_copy(update={"federation": federation})})
        for one in records
        if one.cell.level != "skew: Dir(0.1)" and (one.cell.level, one.cell.attack_name) != ("E: 5", "clean")
    ]
    (epochs,) = effects(ROWS, DESIGNS, select(fewer))
    assert epochs.cells["median", "5"].clean.mean == pytest.approx(0.905)


def test_rounds_with_a_byzantine_majority_are_told(records):
    counted = [
        one.model_copy(update={"byzantine": ByzantineCount(clients=2, most=1, beyond_f=1, absent=0, majority=3)})
        if one.cell.level == "E: 5" and one.cell.attack
        else one
        for one in records
    ]
    board, other = factor_boards(ROWS, effects(ROWS, DESIGNS, select(counted)))
    assert "more Byzantine clients than honest ones, over the seeds: 6 of 10 at 5." in board.caption
    assert "more Byzantine clients" not in other.caption


def test_both_notations_of_alpha_are_said_where_it_changes(records):
    epochs, skew = factor_boards(ROWS, effects(ROWS, DESIGNS, select(records)))
    assert "Dir(0.1)" in skew.caption
    assert "Dir(0.1)" not in epochs.caption


def test_numbers_are_in_the_long_format(records):
    board, _ = factor_boards(ROWS, effects(ROWS, DESIGNS, select(records)))
    data = board.data.set_index(["defense", "column", "metric"])
    assert data.loc[("median", "5", "worst_accuracy"), "mean"] == pytest.approx(0.405)
    assert data.loc[("median", "5", "clean_accuracy"), "seeds"] == 2
    assert ("rsa", "5", "worst_accuracy") not in data.index


def test_nothing_is_shown_of_a_factor_without_records(records):
    base = [record for record in records if not record.cell.level]
    assert effects(ROWS, DESIGNS, select(base)) == []
    assert find_pictures(ROWS, select(base), None, 20.0, DESIGNS) == []


def test_the_picture_has_a_tile_for_each_row_and_level(records):
    (picture,) = find_pictures(ROWS, select(records), None, 20.0, DESIGNS)
    assert "skew (32%) and E (30%)" in picture.sentence
    (axes,) = by_level(ROWS, effects(ROWS, DESIGNS, select(records))).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rsa", "median"]  # the best in the base case
    levels = [tick.label2 for tick in axes.xaxis.get_major_ticks()]
    assert [level.get_text() for level in levels] == ["1", "5", "Dir(1)", "Dir(0.1)"]
    assert [level.get_fontweight() for level in levels] == ["bold", "normal", "bold", "normal"]
    texts = [text.get_text() for text in axes.texts]
    assert texts[:8] == ["76", "70", "–", "40", "76", "70", "60", "20"]
    assert texts[8:] == ["E", "skew"]
    drawn = Image.open(io.BytesIO(picture.draw()))
    assert drawn.width > drawn.height
    assert len(png(by_level(ROWS, effects(ROWS, DESIGNS, select(records))))) < len(picture.draw())  # that has a title


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_has_the_factors(records, kind):
    designed = build("f", "t", 2, select(records), rows=ROWS, designs=DESIGNS)
    assert "factor" in FORMATS[kind](designed).lower()
