"""DnC: scores against numpy's singular vectors, what goes and what stays, subsampled coordinates, refusals."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.protocol import Setting
from bench.rules.gram import gram_matrix
from defenses.dnc import DnC, dnc, outlier_scores


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("kind", ["plain", "clustered far from zero", "far-off row"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_are_squared_projections_on_the_top_right_singular_vector(dtype: torch.dtype, kind: str) -> None:
    messages = torch.randn(12, 3000, generator=generator(), dtype=dtype)
    if kind == "clustered far from zero":
        messages = 1000 + 0.1 * messages
    elif kind == "far-off row":
        messages[3] *= 1e4
    rows = messages.double().numpy()
    centred = rows - rows.mean(axis=0)
    expected = (centred @ np.linalg.svd(centred, full_matrices=False)[2][0]) ** 2
    found = outlier_scores(gram_matrix(messages)).numpy()
    tolerance = 1e-5 if dtype == torch.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * expected.max())


def test_the_most_outlying_go() -> None:
    """On a line the scores are squared distances from the mean, 5: 16, 9, 4, 1, 36; 11 goes first and then 1."""
    line = torch.tensor([[1.0], [2.0], [3.0], [6.0], [13.0]])
    assert dnc(line, 1, generator()).item() == 3.0
    assert dnc(line, 2, generator()).item() == pytest.approx(11 / 3)
    assert dnc(line, 1, generator(), filter_fraction=2.0).item() == pytest.approx(11 / 3)
    assert dnc(line, 2, generator(), filter_fraction=0.4).item() == 5.0  # floor(0.8) = 0 go


def test_published_example() -> None:
    """x = [[1,2,3],[4,5,6],[7,8,9]]: without one of the two equally far ends; none at f = 0."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert dnc(x, 1, generator()).tolist() in ([2.5, 3.5, 4.5], [5.5, 6.5, 7.5])
    assert dnc(x, 0, generator()).tolist() == [4.0, 5.0, 6.0]


def test_only_the_sampled_coordinates_are_looked_at() -> None:
    """Of one coordinate, drawn evenly, the value farthest from the mean decides; 6 deviations of 2000 draws."""
    messages = torch.randn(10, 100, generator=generator(), dtype=torch.float64)
    messages[0, 7] = 1e6
    farthest = (messages - messages.mean(dim=0)).abs().argmax(dim=0)
    p = float((farthest == 0).double().mean())
    kept_out = sum(bool(dnc(messages, 1, generator(seed), subsample=1)[7] < 1e3) for seed in range(2000))
    assert 0 < p < 1
    assert abs(kept_out - 2000 * p) < 6 * (2000 * p * (1 - p)) ** 0.5
    assert dnc(messages, 1, generator())[7] < 1e3


def test_more_iterations_keep_what_all_keep() -> None:
    """Two clients stick out, in different halves; each iteration sees one coordinate, and six see both."""
    messages = torch.zeros(8, 2, dtype=torch.float64)
    messages[:, 0] = torch.linspace(-1, 1, 8)
    messages[:, 1] = torch.linspace(1, -1, 8).roll(3)
    messages[0, 0], messages[1, 1] = 100.0, 100.0
    many = dnc(messages, 1, generator(1), num_iterations=12, subsample=1)
    torch.testing.assert_close(many, messages[2:].mean(dim=0))


@given(st.integers(0, 99), st.integers(0, 3))
def test_it_moves_and_scales_with_the_messages_and_does_not_see_their_order(seed: int, f: int) -> None:
    draw = generator(seed)
    messages, order = torch.randn(9, 6, generator=draw).double(), torch.randperm(9, generator=draw)
    found = dnc(messages, f, generator(seed), subsample=4)
    torch.testing.assert_close(dnc(messages[order], f, generator(seed), subsample=4), found)
    torch.testing.assert_close(dnc(2 * messages + 7, f, generator(seed), subsample=4), 2 * found + 7)


def test_far_off_rows_that_agree_are_dropped() -> None:
    messages = torch.randn(10, 40, generator=generator())
    messages[:4] = 1e10
    torch.testing.assert_close(dnc(messages, 4, generator()), messages[4:].mean(dim=0))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"num_byzantine": 3}, "num_byzantine is 3"),
        ({"num_byzantine": -1}, "num_byzantine is -1"),
        ({"num_byzantine": 1, "num_iterations": 0}, "num_iterations is 0"),
        ({"num_byzantine": 1, "subsample": 0}, "subsample is 0"),
    ],
)
def test_arguments_out_of_range_are_refused(given: dict[str, int], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        dnc(torch.zeros(3, 2), generator=generator(), **given)  # type: ignore[arg-type]


def test_it_claims_no_more_than_half(make_setting: Callable[..., Setting]) -> None:
    assert DnC().tolerates(0.2, make_setting(assumed_byzantine=0.2))
    assert not DnC().tolerates(0.25, make_setting(assumed_byzantine=0.2))
    assert not DnC().tolerates(0.6, make_setting(assumed_byzantine=0.6))
