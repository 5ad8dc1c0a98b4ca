"""The statistics, against values worked out by hand."""

import pytest

from bench.perf.calibration import combine, kernels
from bench.perf.statistics import Spread, disturbance, normalised, over_passes, ratio, verdict


def test_a_round_is_over_the_geometric_mean_of_the_marks_around_it() -> None:
    # marks 1, 4, 9, 4: around the rounds 2, 6, 6; ratios 3, 2, 1
    assert normalised([6.0, 12.0, 6.0], [1.0, 4.0, 9.0, 4.0]) == 2


def test_one_slow_round_does_not_move_the_median() -> None:
    assert normalised([2.0, 2.0, 2000.0], [1.0] * 4) == 2


def test_a_machine_that_slows_down_by_half_way_changes_nothing() -> None:
    assert normalised([3.0, 3.0, 6.0, 6.0], [1.0, 1.0, 1.0, 4.0, 1.0]) == pytest.approx(3)


@pytest.mark.parametrize(("times", "marks"), [([1.0, 1.0], [1.0, 1.0]), ([], [1.0])])
def test_rounds_without_marks_around_them_are_refused(times: list[float], marks: list[float]) -> None:
    with pytest.raises(ValueError, match="one more than rounds"):
        normalised(times, marks)


def test_mixed_is_the_geometric_mean_of_both_kernels() -> None:
    marks = {"matmul": [1.0, 4.0], "stream": [9.0, 16.0]}
    assert combine("mixed", marks) == [3, 8]
    assert combine("matmul", marks) == [1, 4]
    assert combine("stream", marks) == [9, 16]


def test_three_passes_keep_their_range() -> None:
    assert over_passes([3.0, 1.0, 2.0]) == (2, 1, 3)


def test_five_passes_leave_out_the_outermost_two() -> None:
    assert over_passes([9.0, 1.0, 2.0, 3.0, 4.0]) == (3, 2, 4)


def test_the_interval_of_a_ratio_is_best_over_worst_to_worst_over_best() -> None:
    assert ratio(Spread(6, 5, 8), Spread(3, 2, 4)) == (2, 1.25, 4)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (Spread(1.5, 1.26, 1.7), "slower"),
        (Spread(1.5, 1.24, 1.7), "same"),  # over the threshold, but within its spread
        (Spread(1.2, 1.19, 1.21), "same"),  # surely slower, but not by so much
        (Spread(0.7, 0.6, 0.79), "faster"),
        (Spread(0.7, 0.6, 0.81), "same"),
    ],
)
def test_only_a_whole_interval_beyond_the_threshold_counts(found: Spread, said: str) -> None:
    assert verdict(found, 0.25) == said


def test_a_disturbance_is_the_median_over_the_tenth_percentile() -> None:
    assert disturbance([1.0] * 20) == 1
    assert disturbance([1.0, 1.0, *[3.0] * 8]) == 3


def test_the_kernels_work_without_random_numbers() -> None:
    found = kernels()
    assert float(found["matmul"].run()[0, 0]) == 0.5 * 0.25 * 768  # type: ignore[index]
    assert float(found["stream"].run()[0]) == 0.75  # type: ignore[index]
    assert all(kernel.seconds() > 0 for kernel in found.values())
    assert found["stream"].rate(0.001) == f"{3 * 4 * 2**22 / 1e6:.1f} GB/s"
