"""The board of both at once: the worst of both, what forging adds paired by seed, and its picture."""

import io

import pytest
from PIL import Image

from bench.suite import Part
from leaderboards.coalitions import coalitions
from leaderboards.frame import to_frame
from leaderboards.pictures import both

SHARE = 0.2
LOOKING, FLIP = "collusion b=0.2 + looking", "collusion b=0.2 + sign_flip"


@pytest.fixture
def coalition(make_leak):
    """An inversion record of a coalition; forging None is one that looks on, accuracy None one that diverged."""

    def made(row, forging, recovered, accuracy, seed=0):
        record = make_leak(row, "collusion", recovered=recovered, seed=seed)
        part = None if forging is None else Part(name=forging, version=1, parameters={})
        cell = record.cell.model_copy(update={"byzantine": SHARE, "forging": part})
        if accuracy is None:
            return record.model_copy(update={"cell": cell, "status": "diverged", "metrics": {}, "error": "not finite"})
        return record.model_copy(update={"cell": cell, "metrics": {**record.metrics, "model_accuracy": accuracy}})

    return made


@pytest.fixture
def records(coalition):
    """Forging shows more of `open` in each seed, nothing of `shut`, and makes `weak` diverge in one seed."""
    found = []
    for seed in range(3):
        found += [
            coalition("open", None, 0.25, 0.9, seed),
            coalition("open", "sign_flip", 0.75, 0.8 - seed / 100, seed),
        ]
        found += [coalition("open", "alie", 0.5, 0.6, seed)]
        found += [coalition("shut", None, 0.0, 0.9, seed), coalition("shut", "sign_flip", 0.0, 0.85, seed)]
        found += [coalition("shut", "alie", 0.0, 0.88, seed)]
        found += [coalition("weak", None, 0.5, 0.9, seed)]
        found += [coalition("weak", "sign_flip", 0.5, None if seed == 0 else 0.2, seed)]
        found += [coalition("weak", "alie", 0.25, 0.7, seed)]
    return found


def test_accuracy_and_sight_are_each_the_worst_of_their_columns(records, make_boards, table):
    board = table(make_boards(records, seeds=3), "coalitions")
    assert board.rows() == ["shut", "open", "weak"]
    assert board.cell("open", "accuracy, forging") == "60.0 ± 0.0"
    assert board.cell("open", "broken by") == "collusion b=0.2 + alie"
    assert board.cell("open", "shown by") == FLIP
    assert board.number("open", "accuracy_forging", "collusion b=0.2 + alie") == pytest.approx(0.6)
    assert board.number("open", "accuracy_looking", LOOKING) == pytest.approx(0.9)
    assert board.number("open", "recovered_forging", FLIP) == 0.75


def test_what_forging_adds_is_paired_by_seed_and_marked_where_it_is_no_luck(records, coalition, make_boards, table):
    board = table(make_boards(records, seeds=3), "coalitions")
    assert board.cell("open", "forging adds") == "50.0 ± 0.0 ✗"
    assert board.cell("shut", "forging adds") == "0.0 ± 0.0"
    unsure = [coalition("a", None, 0.25 * seed, 0.9, seed) for seed in range(3)]
    unsure += [coalition("a", "sign_flip", 0.5, 0.9, seed) for seed in range(3)]
    assert "✗" not in table(make_boards(unsure, seeds=3), "coalitions").cell("a", "forging adds")
    single = table(make_boards([coalition("a", None, 0.0, 0.9), coalition("a", "alie", 1.0, 0.9)]), "coalitions")
    assert single.cell("a", "forging adds") == "100.0"  # one seed proves nothing
    little = [coalition("a", None, 0.0, 0.9, seed) for seed in range(3)]
    little += [coalition("a", "alie", 0.05, 0.9, seed) for seed in range(3)]
    assert "✗" not in table(make_boards(little, seeds=3), "coalitions").cell("a", "forging adds")


def test_a_column_among_several_needs_more_than_one_alone(coalition, make_boards, table):
    """Differences of 0.2, 0.3 and 0.4: a t interval of 95 % lies above 0, and one corrected for 20 columns does not."""

    def board(forgers):
        records = [coalition("a", None, 0.0, 0.9, seed) for seed in range(3)]
        for place in range(forgers):
            values = (0.2, 0.3, 0.4) if place == 0 else (0.0, 0.0, 0.0)
            records += [coalition("a", f"attack{place}", value, 0.9, seed) for seed, value in enumerate(values)]
        return table(make_boards(records, seeds=3), "coalitions").cell("a", "forging adds")

    assert board(1) == "30.0 ± 24.8 ✗"
    assert board(20) == "30.0 ± 24.8"


def test_a_training_that_diverged_has_accuracy_zero_and_shows_what_the_other_seeds_do(records, make_boards, table):
    board = table(make_boards(records, seeds=3), "coalitions")
    assert board.cell("weak", "accuracy, forging") == "20.0 ± 0.0 (1 failed)"
    assert board.cell("weak", "broken by") == FLIP
    assert board.cell("weak", "recovered, forging").startswith("50%")


def test_without_one_that_forges_there_is_nothing_to_show(coalition, make_leak, make_boards, table):
    for records in ([coalition("a", None, 0.5, 0.9)], [make_leak("a", "collusion", 0.3)]):
        assert not len(table(make_boards(records), "coalitions").board.text)


def test_the_picture_says_how_many_rows_forging_opens_and_breaks(records, coalition):
    frame = to_frame(records)
    found = coalitions(["open", "shut", "weak"], frame[frame["kind"] == "inversion"], records)
    picture = both(["open", "shut", "weak"], found)
    assert picture.sentence == "Forging shows one image in ten more under open; it halves the accuracy of 1 of 3 rows."
    assert Image.open(io.BytesIO(picture.draw())).size[0] > 500
