"""Minimum-diameter averaging: published values, all subsets on small cases, ties, sizes that only the search can do."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array
from torch import Tensor

from bench.protocol import Setting
from bench.rules import covers
from bench.rules.gram import gram_matrix, squared_distances
from defenses.mda import MDA, mda, mda_weights


def by_definition(messages: Tensor, num_byzantine: int) -> tuple[int, ...]:
    """The first subset of smallest diameter in lexicographic order, from differences in float64."""
    rows = messages.double()
    apart = (rows[:, None] - rows[None]).square().sum(dim=2).numpy()
    subsets = combinations(range(len(rows)), len(rows) - num_byzantine)
    return min(subsets, key=lambda kept: apart[list(kept)][:, list(kept)].max())


def chosen(messages: Tensor, num_byzantine: int) -> tuple[int, ...]:
    return tuple(mda_weights(gram_matrix(messages), num_byzantine).nonzero().flatten().tolist())


def test_published_values(square: Tensor, larger: Tensor, first_nine: Tensor) -> None:
    """ByzFL's documentation, where two subsets tie and the first is taken, and its 0.0.11 on the larger example."""
    assert mda(square, 1).tolist() == [2.5, 3.5, 4.5]
    torch.testing.assert_close(mda(larger, 3), first_nine, rtol=0, atol=1e-6)


def test_two_hundred_small_cases_are_those_of_all_subsets() -> None:
    """Integers, whose distances tie often, on lines and in space, with duplicates among them."""
    generator = torch.Generator().manual_seed(5)
    for case in range(200):
        n = 3 + case % 8
        f = int(torch.randint(0, (n + 1) // 2, (1,), generator=generator))
        dim, bound = (1, 4, 2)[case % 3], (4, 30, 6)[case % 3]
        rows = torch.randint(-bound, bound + 1, (n, dim), generator=generator).double()
        assert chosen(rows, f) == by_definition(rows, f)


def test_the_choice_is_that_of_the_definition(adverse_rows: Tensor) -> None:
    assert chosen(adverse_rows, 4) == by_definition(adverse_rows, 4)


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1e3, 1e12, 1e38]))
def test_f_rows_far_away_are_left_out(seed: int, f: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(7, 3, generator=generator)
    lies = size * (1 + torch.rand(f, 3, generator=generator))
    assert chosen(torch.cat([lies, honest]), f) == tuple(range(f, 7 + f))


def test_one_more_than_f_carries_it_off() -> None:
    honest = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert float(mda(torch.cat([honest, torch.full((3, 3), 1e30)]), 2).max()) > 1e28


@pytest.mark.parametrize(("n", "f", "dim"), [(60, 12, 64), (60, 25, 64), (100, 20, 2)])
def test_no_smaller_diameter_is_possible(n: int, f: int, dim: int) -> None:
    """By integer programming: the pairs that are as far apart or farther take more than f rows to break up."""
    rows = torch.randn(n, dim, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    apart = squared_distances(gram_matrix(rows))
    kept = torch.tensor(chosen(rows, f))
    diameter = float(apart[kept][:, kept].max())
    pairs = (apart >= diameter).triu(1).nonzero().numpy().astype(np.int32)  # scipy 1.11 solves with no wider indices
    ends = np.arange(0, pairs.size + 1, 2, dtype=np.int32)
    covers = csr_array((np.ones(pairs.size), pairs.flatten(), ends), shape=(len(pairs), n))
    least = milp(np.ones(n), integrality=1, bounds=(0, 1), constraints=LinearConstraint(covers, lb=1))
    assert len(kept) == n - f
    assert least.success
    assert round(least.fun) > f


def test_a_search_that_would_not_end_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(covers, "MAX_BRANCHES", 3)
    with pytest.raises(ValueError, match="not over after 3 branches"):
        mda(torch.randn(60, 64, generator=torch.Generator().manual_seed(1)), 15)


def test_what_it_cannot_do_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_byzantine is 2, but must be between 0 and 1"):
        mda(torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="assumed Byzantine clients"):
        MDA().start(make_setting(participants=4, assumed_byzantine=0.5))
