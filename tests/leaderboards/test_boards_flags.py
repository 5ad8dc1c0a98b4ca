"""Every kind of flag."""

import pytest

MILD = "sign_flip b=0.2"


def test_a_sound_row_has_none(make, make_leak, make_boards):
    assert make_boards([make("a"), make("a", "sign_flip", accuracy=0.5), make_leak("a")]).flags == {}


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_seeds_that_did_not_finish(make, make_boards, status):
    bad = [make("a", "sign_flip", accuracy=None, seed=seed, status=status, error="ValueError: no") for seed in (1, 2)]
    flags = make_boards([make("a"), make("a", "sign_flip"), *bad]).flags
    assert flags == {"a": [f"{MILD}: 2 seed(s) {status}: ValueError: no"]}


def test_a_failure_without_a_message(make, make_boards):
    assert make_boards([make("a", accuracy=None, status="failed")]).flags == {"a": ["clean: 1 seed(s) failed"]}


def test_fewer_seeds_and_missing_columns(make, make_boards):
    records = [make("a", seed=seed) for seed in range(3)] + [make("b", seed=seed) for seed in range(2)]
    records += [make("a", "sign_flip", seed=seed) for seed in range(3)]
    assert make_boards(records, seeds=3).flags == {"b": ["clean: 2 of 3 seeds", f"{MILD}: 0 of 3 seeds"]}


def test_many_columns_that_lack_as_many_seeds_are_told_together(make, make_boards):
    records = [make("a", seed=seed) for seed in range(2)] + [make("a", f"attack_{index}") for index in range(4)]
    assert make_boards(records, seeds=2).flags == {"a": ["4 columns: 1 of 2 seeds"]}


def cells(make, clean, attacked):
    records = [make("a", accuracy=value, seed=seed) for seed, value in enumerate(clean)]
    return records + [make("a", "sign_flip", accuracy=value, seed=seed) for seed, value in enumerate(attacked)]


def test_an_attack_that_helps_by_more_than_the_interval(make, make_boards):
    flags = make_boards(cells(make, (0.80, 0.81, 0.82), (0.90, 0.91, 0.92))).flags
    assert flags == {"a": [f"{MILD}: beats the clean run by more than the interval"]}


@pytest.mark.parametrize(
    ("clean", "attacked"),
    [
        ((0.80, 0.81, 0.82), (0.83, 0.84, 0.85)),  # 0.03 < hypot(0.0248, 0.0248) = 0.0351
        ((0.5, 0.9), (0.8, 0.9)),
        ((0.5,), (0.9,)),  # single seeds have no interval
        ((0.5,), (0.90, 0.91, 0.92)),
        ((0.9, 0.9), (0.8, 0.8)),
    ],
)
def test_an_attack_that_does_not(make, make_boards, clean, attacked):
    assert make_boards(cells(make, clean, attacked)).flags == {}


def test_a_control_that_failed(make, make_leak, make_boards):
    records = [make("a"), make_leak("a", control=0.75), make_leak("a", seed=1, control=0.25)]
    flags = make_boards(records).flags
    assert flags == {"a": ["dlg: the control failed, the attack recovers too little without a defense"]}


def test_oracle_f(make, make_boards):
    flags = make_boards([make("a", federation={"oracle_f": True}), make("b")]).flags
    assert flags == {"a": ["was given the true number of Byzantine clients"]}


def test_rows_stand_in_the_suites_order(make, make_boards):
    failed = {"accuracy": None, "status": "failed", "error": "no"}
    leaderboard = make_boards([make(row, **failed) for row in "cabz"], rows=["a", "b", "absent", "c"])
    assert list(leaderboard.flags) == ["a", "b", "c", "z"]


# ------------------------------------------------------------------------------------------- a federation of its own


def test_a_row_may_choose_its_steps_and_is_marked_for_anything_else(make, make_boards):
    suites = make("a").cell.federation
    records = [make("a"), make("b", federation={"lr_decay": 3.0, "momentum": 0.5})]
    records.append(make("c", federation={"batch_size": 64, "assumed_byzantine": 0.1, "oracle_f": True}))
    flags = make_boards(records, federation=suites).flags
    own = "batch_size = 64 (32), assumed_byzantine = 0.1 (0.4), oracle_f = True (False)"
    assert flags == {
        "c": [
            "was given the true number of Byzantine clients",
            f"plays in a federation of its own, behind it the suite's: {own}",
        ]
    }


def test_a_sample_that_no_round_had_an_attacker_in(make, make_boards):
    none = {"clients": 2, "most": 0, "beyond_f": 0, "absent": 5}
    some = {"clients": 2, "most": 1, "beyond_f": 0, "absent": 4}
    records = [make("a"), make("a", "ipm", byzantine=none), make("a", "ipm", seed=1, byzantine=some)]
    assert make_boards(records).flags == {"a": ["ipm b=0.2: seed 0 has no Byzantine client in the sample of any round"]}
