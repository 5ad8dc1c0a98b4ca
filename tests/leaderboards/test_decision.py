"""Which rule for whom: what a situation asks for, what counts as holding, and what is said of it."""

import math
from dataclasses import replace
from pathlib import Path

import pytest

from bench.suite import load
from leaderboards import decision, front
from leaderboards.decision import Measured, Situation, decide

ATTACKED = Situation("attacked", "robustness", 0.2)


@pytest.fixture(scope="module")
def measured(make, make_leak, make_boards):
    """A plain mean, a median and Krum that learns little, FLTrust, and noise that hides everything."""
    accuracy = {  # clean, flipped at 0.2, flipped at 0.4
        "fedavg": (0.96, 0.30, 0.11),
        "median": (0.92, 0.88, 0.30),
        "krum": (0.40, 0.46, 0.44),
        "fltrust": (0.94, 0.90, 0.60),
        "dp_fedavg": (0.80, 0.20, 0.11),
    }
    records = []
    for row, (clean, at_a_fifth, at_two_fifths) in accuracy.items():
        for seed, luck in enumerate((-0.01, 0.0, 0.01)):
            records += [
                make(row, accuracy=clean + luck, seed=seed),
                make(row, "sign_flip", 0.2, at_a_fifth + luck, seed=seed),
                make(row, "sign_flip", 0.4, at_two_fifths + luck, seed=seed),
                make_leak(row, recovered=0.0 if row == "dp_fedavg" else 1.0, seed=seed),
            ]
    return Measured.from_leaderboard(make_boards(records, seeds=3))


def choice(situation, *boards):
    (found,) = decide([situation], boards)
    return found


def test_the_best_worst_case_leads_and_says_what_it_needs(measured):
    found = choice(ATTACKED, measured)
    assert (found.row, found.holds, found.suite) == ("fltrust", True, "tiny")
    assert found.worst == "90.0 ± 2.5 % (`sign_flip b=0.2`)"
    assert "2.0 points of clean accuracy, 100 images at the server" in found.cost


def test_a_filter_on_the_defense_leaves_out_what_is_not_possible(measured):
    found = choice(Situation("no images", "robustness", 0.2, fits=lambda one: not one.num_root_samples()), measured)
    assert found.row == "median"
    assert "`sign_flip b=0.4`" in found.breaks
    assert "every privacy attack" in found.breaks or "`dlg`" in found.breaks


def test_a_rule_that_learns_little_is_not_recommended(measured):
    """Krum's worst case at b = 0.4 would lead without images: its clean accuracy is less than half of the best."""
    share = Situation("two fifths", "robustness", 0.4, fits=lambda one: not one.num_root_samples())
    found = choice(share, measured)
    assert (found.row, found.holds) == ("median", False)
    assert decision.use(found) == "none holds; the least bad is median"


def test_what_must_be_withstood_beside_comes_first(measured):
    found = choice(Situation("both", "robustness", 0.2, limits=("privacy",)), measured)
    assert (found.row, found.holds) == ("dp_fedavg", False)


def test_the_curious_server_gets_the_least_under_noise(measured):
    found = choice(Situation("curious", "privacy"), measured)
    assert (found.row, found.holds) == ("dp_fedavg", True)
    assert found.worst.startswith("0% [0, ")


def test_rules_whose_intervals_overlap_are_named(make, make_boards):
    records = []
    for row, worst in (("median", 0.9), ("trimmed_mean", 0.89), ("krum", 0.5)):
        for seed, luck in enumerate((-0.02, 0.0, 0.02)):
            records += [make(row, accuracy=0.95, seed=seed), make(row, "sign_flip", 0.2, worst + luck, seed=seed)]
    found = choice(ATTACKED, Measured.from_leaderboard(make_boards(records, seeds=3)))
    assert found.alike == ("trimmed_mean",)
    assert decision.use(found) == "**median**, or trimmed_mean"


def test_what_no_board_measures_says_so(measured):
    few = Situation("few take part", "robustness", suits=lambda one: one.participation < 1)
    assert decision.markdown([choice(few, measured)], "results").splitlines()[-1] == (
        "| few take part | not measured yet |  |  |  |"
    )
    assert choice(Situation("backdoor", "backdoor"), measured).suite == ""


def test_a_row_that_was_not_measured_everywhere_is_not_compared(make, make_boards):
    records = [make(row, accuracy=0.9) for row in ("median", "krum")]
    records += [make(row, "sign_flip", 0.2, 0.8) for row in ("median", "krum")] + [make("krum", "alie", 0.2, 0.7)]
    found = choice(ATTACKED, Measured.from_leaderboard(make_boards(records)))
    assert found.row == "krum"


def test_no_defense_is_named_in_the_code():
    from pathlib import Path

    from bench import registry

    code = Path(decision.__file__).read_text()
    assert [name for name in registry.names("defense") if f'"{name}"' in code] == []


def test_the_picture_tells_how_many_rules_are_where_everybody_wants_to_be(measured):
    assert front.title(measured) == "None of 5 rules is both robust and private"
    svg = front.front(measured)
    assert svg == front.front(measured)
    assert svg.count('class="c') == 5
    assert "http" not in svg.replace('xmlns="http://www.w3.org/2000/svg"', "")
    assert "prefers-color-scheme:dark" in svg


def test_the_ends_of_an_interval_are_those_of_the_estimate(measured):
    value, _ = measured.worst("robustness", "median", ["sign_flip b=0.2"])
    assert value.ends == pytest.approx((value.mean - value.half_width, value.mean + value.half_width))
    leak, _ = measured.worst("privacy", "median", measured.columns("privacy"))
    assert leak.ends == (leak.low, leak.high)
    assert not math.isnan(leak.low)


def test_a_board_that_fewer_attack_answers_nothing_about_more(make, make_boards):
    records = [make(row, accuracy=0.9, seed=seed) for row in ("median", "krum") for seed in (0, 1)]
    records += [make(row, "sign_flip", 0.2, 0.8, seed=seed) for row in ("median", "krum") for seed in (0, 1)]
    board = Measured.from_leaderboard(make_boards(records, seeds=2))
    assert choice(ATTACKED, board).suite == "tiny"
    assert choice(Situation("two fifths", "robustness", 0.4), board).suite == ""


def test_a_board_of_one_seed_is_asked_where_no_other_is(make, make_boards):
    """It compares more rules, but has no intervals."""

    def board(rows, seeds, name):
        records = [make(row, accuracy=0.9, seed=seed) for row in rows for seed in range(seeds)]
        records += [make(row, "sign_flip", 0.2, 0.8, seed=seed) for row in rows for seed in range(seeds)]
        return replace(Measured.from_leaderboard(make_boards(records, seeds=seeds)), suite=name)

    single, several = board(("median", "krum", "fedavg"), 1, "single"), board(("median", "krum"), 3, "several")
    assert choice(ATTACKED, single, several).suite == "several"
    assert choice(ATTACKED, single).suite == "single"


def test_a_level_of_a_factor_answers_as_a_suite_of_its_own():
    """The published suite `factors`, played with a tenth of the clients a round; the base case is no level."""
    folder = Path(__file__).parents[2] / "results" / "factors"
    if not (folder / "leaderboard.csv").is_file():
        pytest.skip("results/factors is not here: `python -m bench run --suite factors --results results` makes it")
    levels = {one.level: one for one in Measured.levels(load("factors"), folder)}
    assert "participation: 0.1" in levels
    assert "participation: 1" not in levels
    few = levels["participation: 0.1"]
    assert few.federation.participation == 0.1
    assert "sign_flip on=model b=0.2" in few.columns("robustness")
    found = choice(Situation("few", "robustness", suits=lambda one: one.participation < 1), few)
    assert (found.suite, found.level) == ("factors", "participation: 0.1")
    assert "[factors](results/factors/leaderboard.md) at participation: 0.1" in decision.markdown([found], "results")


def test_accuracy_after_the_attackers_have_left_is_no_robustness(make, make_boards):
    records = []
    for row, accuracy in (("fedavg", 0.96), ("median", 0.90)):
        for seed in range(2):
            attacked = make(row, "backdoor", 0.2, accuracy, seed=seed)
            stopped = attacked.model_copy(update={"cell": attacked.cell.model_copy(update={"start": 2, "stop": 3})})
            records += [make(row, accuracy=accuracy, seed=seed), stopped]
    found = choice(ATTACKED, Measured.from_leaderboard(make_boards(records, seeds=2)))
    assert not found.row


def test_a_rule_whose_seeds_scatter_is_no_alternative_to_one_that_holds(make, make_boards):
    """Its interval overlaps, because it is as wide as the scale."""
    records = []
    for seed, luck in enumerate((0.1, 0.5, 0.9)):
        records += [make("median", accuracy=0.9, seed=seed), make("median", "sign_flip", 0.2, 0.88, seed=seed)]
        records += [make("fedavg", accuracy=0.9, seed=seed), make("fedavg", "sign_flip", 0.2, luck, seed=seed)]
        records += [make("krum", accuracy=0.9, seed=seed), make("krum", "sign_flip", 0.2, 0.8 + luck / 10, seed=seed)]
    found = choice(ATTACKED, Measured.from_leaderboard(make_boards(records, seeds=3)))
    assert (found.row, found.alike) == ("median", ("krum",))
