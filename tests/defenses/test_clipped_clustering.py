"""ClippedClustering: Blades' own expected answer, scikit-learn's clusters, lengths that are remembered, refusals."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.cluster import AgglomerativeClustering
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from defenses.clipped_clustering import ClippedClustering, clipped_clustering, cosine_distances, larger_cluster


def test_the_answer_that_the_authors_test_expects() -> None:
    """`fllib/aggregators/tests/test_clippedclustering.py` in Blades."""
    rows = torch.tensor([[1.0, 2.0, 3.0], [-1.0, 4.0, -1.0], [2.0, 2.0, 3.0], [3.0, 1.0, 3.0]])
    assert clipped_clustering(rows).tolist() == pytest.approx([1.9596, 1.6532, 2.9596], abs=5e-5)


def messages(n: int, seed: int, d: int = 5) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@given(st.integers(0, 10_000), st.integers(3, 25))
def test_clusters_are_scikit_learns(seed: int, n: int) -> None:
    rows = messages(n, seed)
    unit = rows / rows.norm(dim=1, keepdim=True)
    distances = cosine_distances(rows)
    torch.testing.assert_close(distances, (1 - unit @ unit.T).fill_diagonal_(0), atol=1e-12, rtol=0)
    theirs = AgglomerativeClustering(metric="precomputed", linkage="average", n_clusters=2).fit(distances.numpy())
    sizes = np.bincount(theirs.labels_)
    chosen = larger_cluster(distances).tolist()
    label = theirs.labels_[chosen[0]]
    assert chosen == np.flatnonzero(theirs.labels_ == label).tolist()
    assert len(chosen) == sizes.max()


def test_of_two_equal_clusters_the_first_messages_counts() -> None:
    rows = torch.tensor([[1.0, 0.1], [-1.0, 0.0], [1.0, 0.0], [-1.0, 0.1]])
    assert larger_cluster(cosine_distances(rows)).tolist() == [0, 2]
    assert larger_cluster(cosine_distances(-rows)).tolist() == [0, 2]


def test_a_silent_client_is_at_right_angles_to_all() -> None:
    rows = torch.tensor([[0.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    assert cosine_distances(rows).tolist() == [[0, 1, 1], [1, 0, 2], [1, 2, 0]]


def test_flipped_messages_are_left_out_and_a_lone_one_is_not() -> None:
    rows = 2 + messages(9, 1)
    rows[:3] = -rows[:3]
    norms = rows.norm(dim=1)
    clipped = rows * (norms.quantile(0.5) / norms).clamp(max=1)[:, None]
    torch.testing.assert_close(clipped_clustering(rows), clipped[3:].mean(dim=0))
    assert torch.equal(clipped_clustering(rows[:1]), rows[0])


def test_lengths_of_all_rounds_bound_the_next() -> None:
    """Lengths 1, 1, 1 and then 9, 9, 9: the median of six is 5, and an upper bound of 2 is below it."""
    setting = Setting(3, 3, 1, 2, 0.1, None, 0.0, 1e-6)
    memory: dict[str, Tensor] = {}
    found = []
    for size in (1.0, 9.0):
        rows = torch.full((3, 1), size)
        server = ServerRound(0, setting, torch.zeros(1), torch.full((3,), 1 / 3), torch.Generator(), memory=memory)
        found.append(ClippedClustering().aggregate(Delivered(rows, torch.arange(3)), server).item())
    assert found == pytest.approx([1.0, 5.0])
    assert memory["lengths"].tolist() == [1, 1, 1, 9, 9, 9]
    history = torch.ones(3, dtype=torch.float64)
    assert clipped_clustering(torch.full((3, 1), 9.0), history=history, most=2.0).item() == pytest.approx(2)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="most is"):
        clipped_clustering(torch.ones(3, 1), most=0.0)
    with pytest.raises(ValueError, match="history is"):
        clipped_clustering(torch.ones(3, 1), history=torch.tensor([float("nan")]))
