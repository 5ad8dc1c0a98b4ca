"""CAF: published values, the filter on the d x d covariance in float64, rows far away."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Setting
from bench.rules.gram import ContestedError, gram_matrix
from defenses.caf import CAF, caf, caf_weights


def by_definition(messages: Tensor, num_byzantine: int, among_all: bool = False) -> np.ndarray:
    """Algorithm 2 on the rows themselves; the largest deviation is that of a row that still counts, or of any row."""
    rows = messages.double().numpy()
    counts, best, smallest = np.ones(len(rows)), rows.mean(axis=0), np.inf
    while counts.sum() > len(rows) - 2 * num_byzantine:
        mean = np.average(rows, axis=0, weights=counts)
        values, vectors = np.linalg.eigh(np.atleast_2d(np.cov(rows.T, aweights=counts, ddof=0)))
        if values[-1] < smallest:
            best, smallest = mean, values[-1]
        deviations = ((rows - mean) @ vectors[:, -1]) ** 2
        largest = max(deviation for deviation, count in zip(deviations, counts, strict=True) if count > 0 or among_all)
        counts = np.maximum(counts * (1 - deviations / largest), 0)
    return best


def test_published_values(square: Tensor) -> None:
    """ByzFL's documentation: after one step only the middle row counts."""
    torch.testing.assert_close(caf(square, 1), square[1])
    torch.testing.assert_close(caf(square, 0), square.mean(dim=0))


def test_the_larger_example(larger: Tensor) -> None:
    """By the definition in float64: ByzFL 0.0.11 gives another answer at each call, from one random power iteration."""
    np.testing.assert_allclose(caf(larger, 3).numpy(), by_definition(larger, 3), atol=1e-9)


@pytest.mark.parametrize(("f", "byzfl", "ours"), [(1, 2.692931, 2.965568), (2, 1.704395, 1.967231)])
def test_byzfl_compares_with_rows_that_are_out_already(f: int, byzfl: float, ours: float) -> None:
    """ByzFL 0.0.11 on a line, where its power iteration is exact; with 2000 for 20 it took 4 s and more than 90 s."""
    line = torch.tensor([[0.0], [1.0], [3.0], [7.0], [20.0]], dtype=torch.float64)
    assert by_definition(line, f, among_all=True).item() == pytest.approx(byzfl, abs=1e-6)
    assert by_definition(line, f).item() == pytest.approx(ours, abs=1e-6)
    assert caf(line, f).item() == pytest.approx(ours, abs=1e-6)
    assert caf(100 * line, f).item() == pytest.approx(100 * ours, abs=1e-4)


def test_on_a_line_by_hand() -> None:
    """0, 1, 5 deviate by 4, 1, 9 from 2: they keep 5/9, 8/9, 0, more than n - 2 f = 1, with less than that variance."""
    found = caf(torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64), 1)
    assert found.item() == pytest.approx(8 / 13)


def test_it_is_the_filter_on_the_covariance(adverse_rows: Tensor) -> None:
    weights = caf_weights(gram_matrix(adverse_rows), 4)
    assert float(weights.min()) >= 0
    assert float(weights.sum()) == pytest.approx(1)
    found, expected = weights.numpy() @ adverse_rows.double().numpy(), by_definition(adverse_rows, 4)
    spread = np.linalg.norm(adverse_rows.double().numpy() - expected, axis=1)
    assert np.linalg.norm(found - expected) < 1e-4 * np.median(spread)


@given(st.integers(0, 10**6), st.integers(1, 3), st.sampled_from([1e3, 1e9, 1e15]))
def test_f_rows_far_away_are_left_out(seed: int, f: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(7, 3, generator=generator)
    lies = size * (1 + torch.rand(f, 3, generator=generator))
    found = caf(torch.cat([lies, honest]), f)
    assert bool(((honest.amin(dim=0) - 1e-3 <= found) & (found <= honest.amax(dim=0) + 1e-3)).all())


def test_who_is_farthest_is_contested_where_products_of_long_rows_are_rounded() -> None:
    """Two rows are 5 and 5.0003 from the others, and all are 1000 long: an error in their products weighs 1e5 times."""
    away = torch.tensor([0, 0.1, -0.1, 0.2, -0.2, 0.05, 5, -5.0003], dtype=torch.float64)
    rows = 1000 + away[:, None]
    gram = rows @ rows.T
    assert caf_weights(gram, 2, 1e-12)[-2:].tolist() == [0, 0]
    with pytest.raises(ContestedError):
        caf_weights(gram, 2, 1e-9)


def test_messages_that_are_all_the_same_are_their_mean() -> None:
    assert torch.equal(caf(torch.full((5, 2), 3.0), 2), torch.tensor([3.0, 3.0]))


def test_what_it_cannot_do_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_byzantine is 2, but must be between 0 and 1"):
        caf(torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="assumed Byzantine clients"):
        CAF().start(make_setting(participants=4, assumed_byzantine=0.5))
