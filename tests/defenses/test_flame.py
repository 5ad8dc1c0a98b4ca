"""FLAME: cosine distances in float64, the majority cluster against single linkage, clipping and noise."""

import itertools
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from defenses.flame import FLAME, cosine_distances, flame, majority_cluster


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def single_linkage_majority(distances: Tensor) -> set[int]:
    """The first component of more than half of the rows, as edges come in from the shortest on.

    With a cluster size above one half there is but one cluster, and with one neighbour HDBSCAN's mutual reachability
    is the distance itself: its condensed tree ends in just this component.
    """
    n = len(distances)
    component = [{i} for i in range(n)]
    for i, j in sorted(itertools.combinations(range(n), 2), key=lambda edge: float(distances[edge])):
        joined = component[i] | component[j]
        for member in joined:
            component[member] = joined
        if len(joined) >= n // 2 + 1:
            return joined
    raise AssertionError("the last edge joins all")


@pytest.mark.parametrize("size", [0.0, 1.0, 1000.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_cosine_distances_of_the_models_in_float64(dtype: torch.dtype, size: float) -> None:
    """Also where updates are a thousandth of the broadcast, whose cosines differ from 1 by 1e-6."""
    updates, w = torch.randn(8, 500, generator=generator(), dtype=dtype), size * torch.ones(500, dtype=dtype)
    models = w.double() + updates.double()
    units = models / models.norm(dim=1, keepdim=True)
    expected = (units[:, None] - units[None]).square().sum(dim=2) / 2
    found = cosine_distances(updates, w)
    torch.testing.assert_close(found, expected, rtol=2e-3 if dtype == torch.float32 else 1e-6, atol=1e-12)


@given(st.integers(3, 20), st.integers(0, 99))
def test_the_cluster_is_the_majority_of_single_linkage(n: int, seed: int) -> None:
    rows = torch.randn(n, 4, generator=generator(seed), dtype=torch.float64)
    distances = cosine_distances(rows, torch.zeros(4, dtype=torch.float64))
    assert set(majority_cluster(distances).tolist()) == single_linkage_majority(distances)


def test_a_minority_that_agrees_is_left_out() -> None:
    rows = torch.randn(11, 300, generator=generator()) * 0.3 + 1
    rows[:5] = -1.0
    assert majority_cluster(cosine_distances(rows, torch.zeros(300))).min() >= 5


def test_published_example() -> None:
    """x = [[1,2,3],[4,5,6],[7,8,9]]: x2 and x3 are the closest pair, and the median norm is that of x2.

    (x2 + x3 |x2| / |x3|) / 2 = (4 + 4.41004, ...) / 2.
    """
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    found = flame(x, generator(), noise_level=0)
    torch.testing.assert_close(found, torch.tensor([4.20502, 5.02002, 5.83503]), rtol=0, atol=1e-5)


def test_by_hand() -> None:
    """Three of four point along the first axis, with norms 1, 2 and 9; the median of 1, 2, 9, 5 is 3.5."""
    x = torch.tensor([[1.0, 0.0], [2.0, 0.0], [9.0, 0.0], [0.0, 5.0]])
    torch.testing.assert_close(flame(x, generator(), noise_level=0), torch.tensor([6.5 / 3, 0.0]))


def test_the_noise_is_lambda_times_the_median_norm(has_variance: Callable[[Tensor, float], bool]) -> None:
    x = torch.randn(9, 20_000, generator=generator(), dtype=torch.float64)
    noise = flame(x, generator(1), noise_level=0.5) - flame(x, generator(2), noise_level=0)
    assert has_variance(noise, (0.5 * float(x.norm(dim=1).median())) ** 2)


@given(st.integers(0, 99))
def test_it_scales_with_the_messages_and_does_not_see_their_order(seed: int) -> None:
    messages, order = (
        torch.randn(9, 6, generator=generator(seed)).double(),
        torch.randperm(9, generator=generator(seed)),
    )
    found = flame(messages, generator(), noise_level=0)
    torch.testing.assert_close(flame(messages[order], generator(), noise_level=0), found)
    torch.testing.assert_close(flame(4 * messages, generator(), noise_level=0), 4 * found)


@pytest.mark.parametrize("rows", [torch.zeros(5, 3), torch.ones(5, 3), torch.ones(1, 3)], ids=["zero", "same", "one"])
def test_degenerate_messages_have_their_mean(rows: Tensor) -> None:
    torch.testing.assert_close(flame(rows, generator(), noise_level=0), rows.mean(dim=0))


def test_far_off_rows_are_clipped_or_left_out() -> None:
    messages = 1 + 0.1 * torch.randn(9, 20, generator=generator())
    messages[:4] = 1e18
    assert float(flame(messages, generator(), noise_level=0).norm()) < 6


def test_the_server_clusters_models_not_updates(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """At the broadcast (0, 10) the models lie at 84, 45 and 90 degrees, where the updates lie at 0, 0 and 90."""
    updates, w = torch.tensor([[1.0, 0.0], [10.0, 0.0], [0.0, 1.0]]), torch.tensor([0.0, 10.0])
    server = server_round(make_setting(participants=3), w, 3)
    found = FLAME(noise_level=0).aggregate(Delivered(updates, torch.arange(3)), server)
    torch.testing.assert_close(found - w, torch.tensor([0.5, 0.5]))  # the first and the third, both of norm 1
    torch.testing.assert_close(flame(updates, generator(), broadcast=w, noise_level=0), torch.tensor([0.5, 0.5]))
    torch.testing.assert_close(flame(updates, generator(), noise_level=0), torch.tensor([1.0, 0.0]))
    with pytest.raises(ValueError, match="noise_level is -1"):
        flame(updates, generator(), noise_level=-1)
    assert not FLAME().tolerates(0.5, make_setting())
