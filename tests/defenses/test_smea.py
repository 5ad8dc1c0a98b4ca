"""SMEA: published values, all subsets by singular values in float64, the same answer each time, sizes it refuses."""

from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Setting
from bench.rules.gram import gram_matrix
from defenses.smea import SMEA, smea, smea_weights


def norm(messages: Tensor, kept: tuple[int, ...]) -> float:
    """The largest singular value of these rows, centred."""
    part = messages.double().numpy()[list(kept)]
    return float(np.linalg.norm(part - part.mean(axis=0), ord=2))


def by_definition(messages: Tensor, num_byzantine: int) -> tuple[int, ...]:
    """The subset of the smallest norm."""
    n = len(messages)
    return min(combinations(range(n), n - num_byzantine), key=lambda kept: norm(messages, kept))


def chosen(messages: Tensor, num_byzantine: int) -> tuple[int, ...]:
    return tuple(smea_weights(gram_matrix(messages), num_byzantine).nonzero().flatten().tolist())


def test_published_values(square: Tensor) -> None:
    """ByzFL's documentation, where two subsets tie and the first is taken."""
    assert smea(square, 1).tolist() == [2.5, 3.5, 4.5]
    torch.testing.assert_close(smea(square, 0), square.mean(dim=0))


def test_the_larger_example(larger: Tensor, first_nine: Tensor) -> None:
    """By the definition in float64: ByzFL 0.0.11 gives another answer at each call, from one random power iteration."""
    assert by_definition(larger, 3) == tuple(range(9))
    for _ in range(3):
        torch.testing.assert_close(smea(larger, 3), first_nine, rtol=0, atol=1e-6)


def test_the_choice_is_as_good_as_that_of_the_definition(adverse_rows: Tensor) -> None:
    """By the norm: copies of a row tie, and which of them is first the definition leaves to rounding."""
    found, best = (norm(adverse_rows, kept) for kept in (chosen(adverse_rows, 4), by_definition(adverse_rows, 4)))
    assert found <= best * (1 + 1e-9)


@given(st.integers(0, 10**6), st.integers(3, 9), st.sampled_from([1, 2, 20]))
def test_small_cases_are_those_of_all_subsets(seed: int, n: int, dim: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    f = int(torch.randint(0, (n + 1) // 2, (1,), generator=generator))
    rows = torch.randn(n, dim, generator=generator, dtype=torch.float64)
    assert chosen(rows, f) == by_definition(rows, f)


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1e3, 1e12, 1e38]))
def test_f_rows_far_away_are_left_out(seed: int, f: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(7, 3, generator=generator)
    lies = size * (1 + torch.rand(f, 3, generator=generator))
    assert chosen(torch.cat([lies, honest]), f) == tuple(range(f, 7 + f))


def test_one_more_than_f_carries_it_off() -> None:
    honest = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
    assert float(smea(torch.cat([honest, torch.full((3, 3), 1e30)]), 2).max()) > 1e28


def test_what_it_cannot_do_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_byzantine is 2, but must be between 0 and 1"):
        smea(torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="is 8, but must be small enough for 1,048,576 subsets of 30 rows"):
        smea(torch.zeros(30, 2), 8)
    with pytest.raises(ValueError, match="assumed Byzantine clients"):
        SMEA().start(make_setting(participants=100, assumed_byzantine=0.2))
