"""SignGuard: mean shift is scikit-learn's, shares by hand, both filters, clipping, refusals."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import MeanShift, estimate_bandwidth
from torch import Tensor

from attacks.alie import alie
from defenses.signguard import bandwidth, largest_cluster, mean_shift, sign_shares, signguard


def draws(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_shares_by_hand() -> None:
    """Positive 3/4 and 1/4, zero 0 and 1/4, negative 1/4 and 1/2; each over the larger."""
    rows = torch.tensor([[1.0, 2.0, 3.0, -1.0], [0.0, -5.0, -1.0, 1.0]])
    expected = torch.tensor([[1.0, 0.0, 0.5], [1 / 3, 1.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(sign_shares(rows), expected, atol=1e-6, rtol=0)


@given(st.integers(0, 10_000), st.integers(4, 40), st.booleans())
def test_mean_shift_is_scikit_learns(seed: int, n: int, two: bool) -> None:
    """As the authors call it: bandwidth at the quantile 1/2, seeds in bins, who is far from all centres in none."""
    points = torch.rand(n, 3, generator=draws(seed), dtype=torch.float64)
    if two:
        points[: n // 4] += 0.8
    width = estimate_bandwidth(points.numpy(), quantile=0.5)
    assert bandwidth(points) == pytest.approx(width, abs=1e-7)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # as many bins as points
        theirs = MeanShift(bandwidth=width, bin_seeding=True, cluster_all=False).fit(points.numpy()).labels_
    assert mean_shift(points, width).tolist() == theirs.tolist()


def test_the_most_points_are_the_largest_cluster() -> None:
    points = torch.zeros(9, 3, dtype=torch.float64)
    points[:, 0] = torch.tensor([0.0, 0.01, 0.02, 0.0, 0.01, 0.02, 0.9, 0.91, 0.92])
    assert largest_cluster(points).tolist() == [True] * 6 + [False] * 3
    copies = torch.tensor([[0.0], [1.0], [0.0], [0.0], [1.0], [0.0]], dtype=torch.float64)
    assert bandwidth(copies) > 0
    same = torch.ones(6, 3, dtype=torch.float64)
    assert bandwidth(same) == 0
    assert largest_cluster(same).all()
    assert largest_cluster(copies[:3]).all()  # three are one cluster


def honest(n: int, d: int = 400, seed: int = 0) -> Tensor:
    return 0.3 + torch.randn(n, d, generator=draws(seed), dtype=torch.float64)


@pytest.mark.parametrize("factor", [0.05, 4.0])
def test_the_shortest_and_the_longest_are_out(factor: float) -> None:
    rows = honest(8)
    rows[0] *= factor
    left = rows[1:]
    norms = left.norm(dim=1)
    bound = torch.cat([norms, rows[:1].norm(dim=1)]).sort().values[3]  # the lower of the middle two of eight
    clipped = left * (bound / norms).clamp(max=1)[:, None]
    found = [signguard(rows, draws(seed), coordinates=1.0) for seed in range(2)]
    alone = sign_shares(rows)
    assert largest_cluster(alone)[1:].any()
    kept = largest_cluster(alone)[1:]
    for one in found:  # of all coordinates no place is drawn
        torch.testing.assert_close(one, clipped[kept].mean(dim=0))


def test_messages_of_alie_have_other_signs_and_are_out() -> None:
    """16 honest clients and 4 who send mean - 3 sigma, whose entries are nearly all negative."""
    rows = honest(16)
    forged = torch.cat([alie(rows, 4, z=3.0, sign="minus"), rows])
    passed = largest_cluster(sign_shares(forged))
    assert not passed[:4].any()
    assert passed[4:].sum() > 8
    assert float(signguard(forged, draws()).mean()) > 0.2


def test_where_nobody_passes_the_model_stays() -> None:
    """Half are silent: the median length is half the longest, which is more than the bound of 1.5 medians."""
    rows = torch.tensor([[0.0], [0.0], [1.0], [1.0]])
    assert signguard(rows, draws(), low=0.1, high=1.5).tolist() == [0.0]


def test_the_place_is_drawn() -> None:
    rows = honest(12, 60)
    assert len({tuple(signguard(rows, draws(seed)).tolist()) for seed in range(20)}) > 1
    assert torch.equal(signguard(rows, draws(1)), signguard(rows, draws(1)))


@pytest.mark.parametrize(
    ("name", "value"), [("low", -0.1), ("low", 3.0), ("high", math.inf), ("coordinates", 0.0), ("coordinates", 1.1)]
)
def test_refusals(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name if name != 'high' else 'low'} is"):
        signguard(honest(4), draws(), **{name: value})


def test_points_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="points is"):
        bandwidth(torch.zeros(3, dtype=torch.float64))
    with pytest.raises(ValueError, match="width is"):
        mean_shift(torch.zeros(3, 1, dtype=torch.float64), 0.0)
