"""What must hold for every aggregation, whatever the messages: symmetries, and what forged rows cannot do."""

import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import Tensor

from defenses.dpbfl import analyze
from defenses.fedavg import weighted_mean
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.rsa import sign_sum

Rows = list[list[int]]
DIM = 3


def matrices(low: int = 1, high: int = 9, bound: int = 1000) -> st.SearchStrategy[Rows]:
    """Integer rows: float64 adds them up without rounding, so that equalities are exact."""
    return st.lists(st.lists(st.integers(-bound, bound), min_size=DIM, max_size=DIM), min_size=low, max_size=high)


def tensor(rows: Rows) -> Tensor:
    return torch.tensor(rows, dtype=torch.float64)


def permutation(size: int, seed: int) -> Tensor:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def krum_winners(messages: Tensor, num_byzantine: int) -> Tensor:
    """The rows of the smallest score, by definition; more than one distinct row is a tie."""
    distances = (messages[:, None] - messages[None]).square().sum(dim=2)
    scores = distances.sort(dim=1).values[:, 1 : len(messages) - num_byzantine - 1].sum(dim=1)
    return messages[scores == scores.min()].unique(dim=0)


@given(matrices(), st.integers(0, 99), st.data())
def test_mean_does_not_see_the_order(rows: Rows, seed: int, data: st.DataObject) -> None:
    messages, order = tensor(rows), permutation(len(rows), seed)
    weights = torch.tensor(data.draw(st.lists(st.integers(1, 9), min_size=len(rows), max_size=len(rows))))
    torch.testing.assert_close(weighted_mean(messages[order], weights[order]), weighted_mean(messages, weights))


@given(matrices(), st.integers(0, 99))
def test_median_does_not_see_the_order(rows: Rows, seed: int) -> None:
    messages = tensor(rows)
    assert torch.equal(coordinate_median(messages[permutation(len(rows), seed)]), coordinate_median(messages))


@given(matrices(5), st.integers(0, 1), st.integers(0, 99))
def test_krum_does_not_see_the_order(rows: Rows, num_byzantine: int, seed: int) -> None:
    messages = tensor(rows)
    assume(len(krum_winners(messages, num_byzantine)) == 1)
    moved = krum(messages[permutation(len(rows), seed)], num_byzantine)
    assert torch.equal(moved, krum(messages, num_byzantine))


@given(matrices(bound=3), st.lists(st.integers(-3, 3), min_size=DIM, max_size=DIM), st.integers(0, 99))
def test_sign_sum_does_not_see_the_order(rows: Rows, broadcast: list[int], seed: int) -> None:
    models, order = tensor(rows), permutation(len(rows), seed)
    expected = [sum((w > row[j]) - (w < row[j]) for row in rows) for j, w in enumerate(broadcast)]
    assert sign_sum(torch.tensor(broadcast).double(), models[order]).tolist() == expected


@given(matrices(bound=1), st.sampled_from([0.0, 0.283, 0.75]), st.integers(0, 99))
def test_analyze_does_not_see_the_order(rows: Rows, gamma: float, seed: int) -> None:
    messages = torch.tensor(rows, dtype=torch.int8)
    shuffled = analyze(messages[permutation(len(rows), seed)], gamma)
    assert torch.equal(shuffled, analyze(messages, gamma))


@given(matrices(5), st.lists(st.integers(-(10**6), 10**6), min_size=DIM, max_size=DIM))
def test_mean_median_and_krum_move_with_the_messages(rows: Rows, by: list[int]) -> None:
    messages, shift = tensor(rows), torch.tensor(by, dtype=torch.float64)
    torch.testing.assert_close(weighted_mean(messages + shift), weighted_mean(messages) + shift)
    torch.testing.assert_close(coordinate_median(messages + shift), coordinate_median(messages) + shift)
    if len(krum_winners(messages, 1)) == 1:
        torch.testing.assert_close(krum(messages + shift, 1), krum(messages, 1) + shift)


@given(matrices(bound=100), st.lists(st.integers(-100, 100), min_size=DIM, max_size=DIM), st.integers(-50, 50))
def test_sign_sum_does_not_see_a_common_move(rows: Rows, broadcast: list[int], by: int) -> None:
    models, w_0 = tensor(rows), torch.tensor(broadcast).double()
    assert torch.equal(sign_sum(w_0 + by, models + by), sign_sum(w_0, models))


@given(matrices(5), st.sampled_from([0.25, 2.0, 1024.0]))
def test_mean_median_and_krum_scale_with_the_messages(rows: Rows, by: float) -> None:
    messages = tensor(rows)
    torch.testing.assert_close(weighted_mean(by * messages), by * weighted_mean(messages))
    assert torch.equal(coordinate_median(by * messages), by * coordinate_median(messages))
    if len(krum_winners(messages, 1)) == 1:
        assert torch.equal(krum(by * messages, 1), by * krum(messages, 1))


forged_values = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([3e38, -3e38, 0.0])


@given(matrices(2, 8), st.data())
def test_a_minority_cannot_move_the_median_out_of_the_honest_range(rows: Rows, data: st.DataObject) -> None:
    honest = tensor(rows).float()
    num_byzantine = data.draw(st.integers(1, len(rows) - 1))
    forged = [[data.draw(forged_values) for _ in range(DIM)] for _ in range(num_byzantine)]
    found = coordinate_median(torch.cat([honest, torch.tensor(forged)]))
    assert bool((honest.min(dim=0).values <= found).all())
    assert bool((found <= honest.max(dim=0).values).all())


@given(matrices(5, 9), st.integers(0, 1), st.sampled_from([torch.float32, torch.float64]))
def test_krum_returns_one_of_the_best_rows(rows: Rows, num_byzantine: int, dtype: torch.dtype) -> None:
    messages = tensor(rows).to(dtype)
    found = krum(messages, num_byzantine)
    assert bool((krum_winners(messages.double(), num_byzantine) == found.double()).all(dim=1).any())


@given(matrices(7, 9, bound=20), st.lists(forged_values, min_size=DIM, max_size=DIM))
def test_two_forged_rows_that_agree_cannot_take_krum_far_away(rows: Rows, forged: list[float]) -> None:
    """n - f - 2 neighbours of a forged row hold at least 2 honest ones, so that distant rows always lose."""
    honest = tensor(rows).float()
    lie = torch.tensor([forged, forged])
    assume(float(lie.abs().max()) > 1e4)
    found = krum(torch.cat([honest, lie]), 2)
    assert bool((honest == found).all(dim=1).any())


@given(matrices(1, 6, bound=50), st.integers(1, 9))
def test_copies_of_all_rows_change_no_mean_and_no_median(rows: Rows, copies: int) -> None:
    messages = tensor(rows)
    torch.testing.assert_close(weighted_mean(messages.repeat(copies, 1)), weighted_mean(messages))
    assert torch.equal(coordinate_median(messages.repeat(copies, 1)), coordinate_median(messages))
