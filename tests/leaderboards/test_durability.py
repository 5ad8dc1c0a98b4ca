"""The board of durability: numbers by hand from curves, censored lifespans, pairs by seed, no board without a stop."""

import math
from dataclasses import replace

import numpy as np
import pytest

from leaderboards.durability import durability_boards, life_of, lives_of
from leaderboards.estimates import of_values

ROUNDS = (10, 20, 30, 40)
COLUMN = "backdoor b=0.2 rounds 11-20"


def attacked(make, row, seed, success, accuracy=0.9, stop=20):
    """A record of an attack in rounds 11 to 20 of 40, with success by round."""
    record = make(row, "backdoor", seed=seed, accuracy=accuracy)
    cell = record.cell.model_copy(update={"start": 11, "stop": stop})
    points = list(zip(ROUNDS, success, strict=True))
    return record.model_copy(update={"cell": cell, "success": points, "curve": [(at, accuracy) for at in ROUNDS]})


def clean(make, row, seed, accuracy):
    record = make(row, seed=seed, accuracy=accuracy)
    return record.model_copy(update={"curve": [(at, accuracy) for at in ROUNDS]})


@pytest.mark.parametrize(
    ("success", "rounds", "survived"),
    [
        ([0.1, 0.9, 0.6, 0.4], 10, False),  # above half in round 30, 10 after the stop, below it in round 40
        ([0.1, 0.9, 0.4, 0.9], 0, False),  # that it comes back does not count
        ([0.1, 0.9, 0.5, 0.5], 20, True),
        ([0.1, 0.3, 0.2, 0.1], 0, False),
    ],
)
def test_a_lifespan_is_counted_in_rounds_after_the_last_attack(make, success, rounds, survived):
    life = life_of(attacked(make, "fedavg", 0, success))
    assert life is not None
    assert (life.before, life.stop, life.end) == (success[0], success[1], success[3])
    assert (life.rounds, life.survived) == (rounds, survived)


def test_what_has_no_stop_or_failed_has_no_life(make):
    endless, failed = attacked(make, "fedavg", 0, [0.1] * 4, stop=None), attacked(make, "fedavg", 0, [0.1] * 4)
    assert life_of(endless) is None
    assert life_of(failed.model_copy(update={"status": "diverged"})) is None
    assert durability_boards(["fedavg"], [COLUMN], {}, [endless, clean(make, "fedavg", 0, 0.9)]) == []


def test_the_board_has_the_worst_attack_of_every_row_the_lowest_first(make):
    records = [
        *(attacked(make, "fedavg", seed, [0.0, 0.9 + seed / 20, 0.8, 0.7], 0.85) for seed in (0, 1, 2)),
        *(attacked(make, "krum", seed, [0.0, 0.2, 0.1, 0.1], 0.9) for seed in (0, 1, 2)),
        *(clean(make, row, seed, 0.9 + seed / 100) for row in ("fedavg", "krum") for seed in (0, 1, 2)),
    ]
    durability, success = durability_boards(["fedavg", "krum"], ["clean", COLUMN], {}, records)
    assert list(durability.text["defense"]) == ["krum", "fedavg"]
    line = durability.text.set_index("defense").loc["fedavg"]
    assert line["worst attack"] == COLUMN
    assert line["in its last round"] == "95.0 [82.6, 100.0]"  # 0.95 +- 4.303 * 0.05 / sqrt(3)
    assert line["at the end"] == "70.0 ± 0.0"
    assert line["before it"] == "0.0 ± 0.0"
    assert line["rounds above half"] == "≥ 20"
    assert line["accuracy lost"] == "6.0 ± 2.5"  # 5, 6 and 7 points
    assert success.text.set_index("defense").loc["krum", COLUMN] == "20.0 ± 0.0 → 10.0"
    numbers = success.data.set_index(["defense", "metric"])["mean"]
    assert math.isclose(numbers["fedavg", "success_at_stop"], 0.95)
    assert math.isclose(numbers["krum", "success_at_end"], 0.1)


def test_failed_seeds_and_daggers_are_those_of_the_last_models_success(make):
    records = [attacked(make, "fedavg", 0, [0.0, 0.9, 0.8, 0.7])]
    value = replace(of_values(np.array([0.7]), "backdoor_success"), failed=2, within_claim=False)
    board = durability_boards(["fedavg"], [COLUMN], {("fedavg", COLUMN): value}, records)[0]
    assert board.text["in its last round"][0] == "90.0 (2 failed) †"
    assert lives_of(records)["fedavg", COLUMN].keys() == {0}


def test_a_row_whose_trainings_broke_off_comes_last(make):
    records = [attacked(make, "krum", 0, [0.0, 0.9, 0.8, 0.7])]
    broken = replace(of_values(np.array([]), "backdoor_success"), failed=1)
    board, every = durability_boards(["rlr", "krum"], [COLUMN], {("rlr", COLUMN): broken}, records)
    assert list(board.text["defense"]) == ["krum", "rlr"]
    assert board.text["in its last round"][1] == "failed"
    assert every.text[COLUMN][1] == "failed"
