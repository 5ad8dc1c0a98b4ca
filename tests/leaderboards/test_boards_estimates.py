"""Means and intervals, against numbers worked by hand."""

import math

import pytest

from leaderboards.estimates import MISSING, Estimate, estimates
from leaderboards.frame import to_frame

T_1_DEGREE, T_2_DEGREES = 12.706205, 4.302653  # t_{0.975}, from a printed table


def of(records):
    return estimates(to_frame(records), "accuracy")


def test_interval_over_three_seeds(make):
    found = of([make("krum", accuracy=value, seed=seed) for seed, value in enumerate((0.80, 0.85, 0.90))])
    value = found["krum", "clean"]
    assert value.mean == pytest.approx(0.85)
    assert value.half_width == pytest.approx(T_2_DEGREES * 0.05 / math.sqrt(3), rel=1e-6)
    assert (value.seeds, value.failed) == (3, 0)
    assert value.text() == "85.0 ± 12.4"


def test_interval_over_two_seeds(make):
    value = of([make("krum", accuracy=0.8), make("krum", accuracy=0.9, seed=1)])["krum", "clean"]
    assert value.half_width == pytest.approx(T_1_DEGREE * 0.05, rel=1e-6)  # s = 0.1 / sqrt(2), over sqrt(2)


def test_one_seed_has_no_interval(make):
    value = of([make("krum", accuracy=0.5)])["krum", "clean"]
    assert value.mean == 0.5
    assert math.isnan(value.half_width)
    assert value.text() == "50.0"


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_what_did_not_finish_is_shown_and_not_averaged_in(make, status):
    good = [make("krum", accuracy=value, seed=seed) for seed, value in enumerate((0.80, 0.90))]
    value = of([*good, make("krum", accuracy=0.123, seed=2, status=status)])["krum", "clean"]
    assert value.mean == pytest.approx(0.85)
    assert (value.seeds, value.failed) == (2, 1)
    assert value.text() == "85.0 ± 63.5 (1 failed)"
    assert value.score == 0.0


def test_all_failed(make):
    value = of([make("krum", accuracy=None, status="failed")])["krum", "clean"]
    assert value.text() == "failed"
    assert math.isnan(value.mean)
    assert value.score == 0.0


def test_nothing_measured():
    assert MISSING.text() == "–"
    assert math.isnan(MISSING.score)


@pytest.mark.parametrize(("within", "text"), [(False, "50.0 †"), (True, "50.0"), (None, "50.0")])
def test_dagger_only_beyond_the_own_claim(make, within, text):
    value = of([make("krum", "sign_flip", accuracy=0.5, within_claim=within)])["krum", "sign_flip b=0.2"]
    assert value.text() == text


def test_dagger_after_the_failures():
    value = Estimate(0.5, 0.1, seeds=2, failed=1, within_claim=False)
    assert value.text() == "50.0 ± 10.0 (1 failed) †"
    assert Estimate(math.nan, math.nan, seeds=0, failed=3, within_claim=False).text() == "failed †"


def test_no_negative_zero():
    assert Estimate(-0.0001, math.nan, seeds=1, failed=0).text() == "0.0"


def test_groups_and_an_unknown_metric(make):
    records = [make("krum"), make("krum", "sign_flip"), make("median")]
    assert set(of(records)) == {("krum", "clean"), ("krum", "sign_flip b=0.2"), ("median", "clean")}
    assert estimates(to_frame(records), "psnr")["krum", "clean"].text() == "–"


def test_one_seed_beyond_the_claim_is_enough_for_a_dagger(make):
    records = [make("krum", accuracy=0.5, seed=seed, within_claim=within) for seed, within in enumerate((True, False))]
    assert not of(records)["krum", "clean"].within_claim
