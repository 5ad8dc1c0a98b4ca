"""Means and intervals, against numbers worked by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy.stats import binom, t

from leaderboards.estimates import MISSING, Estimate, estimates, interval, shares
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
    assert value.text() == "85.0 [21.5, 100.0] (1 failed)"
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


# --------------------------------------------------------------------------------------------------- shares of images


def wilson(recovered: float, images: float) -> tuple[float, float]:
    """Wilson 1927 in closed form, with the 97.5 % point of the normal distribution from a printed table."""
    z, p = 1.959964, recovered / images
    middle, spread = p + z**2 / (2 * images), z * math.sqrt(p * (1 - p) / images + z**2 / (4 * images**2))
    return (middle - spread) / (1 + z**2 / images), (middle + spread) / (1 + z**2 / images)


def share_of(records):
    return shares(to_frame(records), "recovered")[records[0].cell.label, records[0].cell.column]


def effective(counts, images) -> float:
    """Korn and Graubard's number of independent images, by the textbook's one-way analysis of variance."""
    k, n = len(counts), images * len(counts)
    if k == 1:
        return n
    p = sum(counts) / n
    between = sum((count / images - p) ** 2 for count in counts) / (k - 1) / k
    effect = max(1.0, between / (p * (1 - p) / n)) if 0 < p < 1 else 1.0
    return n / effect * (t.ppf(0.975, n - 1) / t.ppf(0.975, k - 1)) ** 2


@pytest.mark.parametrize(
    ("counts", "images"), [((2, 3, 1), 4), ((0, 0, 0), 16), ((16, 16, 16), 16), ((7,), 16), ((0, 16, 4), 16)]
)
def test_a_share_is_over_the_images_of_all_seeds(make_leak, counts, images):
    records = [make_leak("a", recovered=count / images, images=images, seed=seed) for seed, count in enumerate(counts)]
    value = share_of(records)
    total = images * len(counts)
    assert value.mean == pytest.approx(sum(counts) / total)
    number = effective(counts, images)
    assert (value.low, value.high) == pytest.approx(wilson(number * sum(counts) / total, number), abs=1e-6)
    assert math.isnan(value.half_width)
    assert (value.seeds, value.failed) == (len(counts), 0)


def test_the_text_of_a_share(make_leak):
    records = [make_leak("a", recovered=count / 16, images=16, seed=seed) for seed, count in enumerate((7, 8, 8))]
    assert share_of(records).share() == "48% [23, 74]"
    assert MISSING.share() == "–"


def test_seeds_with_more_images_count_for_more(make_leak):
    records = [make_leak("a", recovered=1.0, images=30), make_leak("a", recovered=0.0, images=10, seed=1)]
    assert share_of(records).mean == 0.75


def test_records_about_the_same_images_count_once(make_leak):
    """The controls of two rows are the same attack on the same targets: twice as many records, not twice as sure."""
    one = to_frame([make_leak("a", recovered=0.5, seed=seed) for seed in range(3)])
    both = pd.concat([one, one], ignore_index=True)
    alone, together = shares(one, "recovered")["a", "dlg"], shares(both, "recovered")["a", "dlg"]
    assert (together.low, together.high) == (alone.low, alone.high)


def test_images_of_seeds_that_failed_do_not_count(make_leak):
    records = [make_leak("a", recovered=0.5, images=16), make_leak("a", recovered=1.0, seed=1, status="diverged")]
    value = share_of(records)
    assert (value.mean, value.seeds, value.failed) == (0.5, 1, 1)
    assert (value.low, value.high) == pytest.approx(wilson(8, 16), abs=1e-6)


def test_the_interval_covers_the_true_share(make_leak):
    """Coverage of Wilson's interval at p = 0.3, n = 48, exactly: at least 93 % (nominal 95 %)."""
    covered = 0.0
    for count in range(49):
        low, high = wilson(count, 48)
        records = [make_leak("a", recovered=count / 48, images=48)]
        assert (share_of(records).low, share_of(records).high) == pytest.approx((low, high), abs=1e-6)
        covered += binom.pmf(count, 48, 0.3) * (low <= 0.3 <= high)
    assert covered > 0.93


SEEDS_OF_SHARES = 3
TRIES = 4000


@pytest.mark.parametrize("icc", [0.0, 0.05, 0.2])
@pytest.mark.parametrize("p", [0.1, 0.3, 0.5])
def test_the_interval_covers_the_true_share_where_images_of_a_seed_belong_together(icc, p):
    """Coverage of at least 95 % at beta-binomial seeds, but for what 4000 tries may give with probability 0.0005.

    Wilson's interval over pooled images, which takes them for independent, covers 64 % at a correlation of 0.2.
    """
    draws = np.random.default_rng(0)
    shape = (TRIES, SEEDS_OF_SHARES)
    q = np.full(shape, p) if icc == 0 else draws.beta(p * (1 - icc) / icc, (1 - p) * (1 - icc) / icc, shape)
    found = draws.binomial(16, q) / 16
    ends = np.array([interval(one, np.full(SEEDS_OF_SHARES, 16.0)) for one in found])
    covered = int(((ends[:, 0] <= p) & (p <= ends[:, 1])).sum())
    assert covered >= binom.ppf(0.0005, TRIES, 0.95)
    if icc == 0.2:
        plain = [wilson(one.sum() * 16, 48) for one in found]
        assert np.mean([low <= p <= high for low, high in plain]) < 0.75


def test_a_share_in_an_old_record_is_of_its_targets(make_leak):
    record = make_leak("a", recovered=0.25)
    without = {name: value for name, value in record.metrics.items() if name != "images"}
    assert share_of([record.model_copy(update={"metrics": without})]).high == pytest.approx(wilson(1, 4)[1], abs=1e-6)


# ------------------------------------------------------------------------------------- an interval within 0 and 100


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ((0.80, 0.90), "85.0 [21.5, 100.0]"),  # 0.85 - t 0.05 with t of one degree of freedom
        ((0.01, 0.03, 0.05), "3.0 [0.0, 8.0]"),
        ((0.2, 0.9), "55.0 [0.0, 100.0]"),
        ((0.50, 0.52, 0.54), "52.0 ± 5.0"),
        ((1.0, 1.0), "100.0 ± 0.0"),
        ((1.0, 0.99999), "100.0 ± 0.0"),
    ],
)
def test_the_interval_of_a_percentage_ends_at_0_and_100(make, values, text):
    value = of([make("krum", accuracy=value, seed=seed) for seed, value in enumerate(values)])["krum", "clean"]
    assert value.text() == text
    assert math.isnan(value.low) or 0 <= value.low <= value.mean <= value.high <= 1


def test_what_is_no_percentage_keeps_its_interval(make_leak):
    frame = to_frame([make_leak("niss", psnr=psnr, seed=seed) for seed, psnr in enumerate((1.0, 30.0))])
    value = estimates(frame, "psnr")["niss", "dlg"]
    assert value.mean - value.half_width < 0
    assert math.isnan(value.low)


def test_the_ends_are_in_the_long_format(make, make_boards, table):
    records = [make("krum", accuracy=value, seed=seed) for seed, value in enumerate((0.80, 0.90))]
    board = table(make_boards(records, seeds=2), "robustness")
    assert board.number("krum", "accuracy", "clean", "high") == 1.0
    assert board.number("krum", "accuracy", "clean", "low") == pytest.approx(0.85 - T_1_DEGREE * 0.05)


# ------------------------------------------------------------------------------------------------------- the dagger


def dagger(records):
    return of(records)["krum", "sign_flip b=0.2"].text()


@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_cell_that_broke_off_keeps_its_dagger(make, status):
    """Its own record may not say whether the attack is beyond the claim; those of its row at the same b do."""
    broken = [make("krum", "sign_flip", accuracy=None, status=status, seed=seed) for seed in (0, 1)]
    assert dagger([*broken, make("krum", "ipm", within_claim=False)]) == "failed †"
    assert dagger([*broken, make("krum", "ipm", within_claim=True)]) == "failed"
    assert dagger([*broken, make("krum", "sign_flip", 0.4, within_claim=False)]) == "failed"  # another b
    assert dagger([*broken, make("median", "ipm", within_claim=False)]) == "failed"  # another row
    assert dagger([make("krum", "sign_flip", accuracy=None, status=status, within_claim=False)]) == "failed †"


def test_another_seed_says_nothing_of_a_seed_that_speaks(make):
    """Samples differ by the seed: what one holds is no word about another that says so itself."""
    records = [make("krum", "sign_flip", within_claim=True), make("krum", "ipm", seed=1, within_claim=False)]
    assert dagger(records) == "90.0"
