import math
import time

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2
from torch import Tensor

from bench.base.rng import generator
from bench.data import LAWS, SCHEMES, Deal, class_counts, client_sizes, load, partition
from bench.data.partitions import _counts_without_replacement

schemes = st.sampled_from(sorted(SCHEMES))
seeds = st.integers(0, 2**32)
labellings = st.lists(st.integers(0, 6), min_size=1, max_size=200).map(torch.tensor)
alphas = st.floats(1e-3, 1e3) | st.sampled_from([5e-324, 1e308])


def balanced(num_samples: int, num_classes: int = 10) -> Tensor:
    return torch.arange(num_samples) % num_classes


@given(schemes, labellings, st.integers(1, 40), st.none() | st.integers(1, 20), seeds, st.integers(1, 7), alphas)
def test_every_partition(scheme, labels, num_clients, size, seed, shards, alpha):
    def deal() -> Tensor:
        return partition(scheme, labels, num_clients, size, generator(seed), shards_per_client=shards, alpha=alpha)

    indices = deal()
    expected = max(1, len(labels) // num_clients) if size is None else size
    assert indices.shape == (num_clients, expected)
    assert indices.dtype == torch.int64
    assert indices.is_contiguous()
    assert 0 <= indices.min() <= indices.max() < len(labels)
    if num_clients * expected <= len(labels):
        assert indices.unique().numel() == indices.numel()
    assert torch.equal(indices, deal())

    counts = class_counts(labels, indices, 7)
    assert torch.equal(counts, torch.stack([labels[row].bincount(minlength=7) for row in indices]))
    if scheme == "sorted":  # each shard is a run of the sorted labels, and a boundary between labels cuts one at most
        assert (counts > 0).sum() <= num_clients * shards + labels.unique().numel() - 1
    if scheme == "similarity":  # all but half of a client's samples are one such run
        crossing = labels.unique().numel() - 1
        assert (counts > 0).sum() <= num_clients * (1 + round(0.5 * expected)) + crossing


@given(schemes, labellings, st.integers(1, 20), st.sampled_from(sorted(LAWS)), seeds, st.integers(1, 7), alphas)
def test_every_partition_of_different_sizes(scheme, labels, num_clients, law, seed, shards, alpha):
    sizes = client_sizes(law, num_clients, 5, generator(seed))
    given = {"shards_per_client": shards, "alpha": alpha, "sizes": sizes}
    indices = partition(scheme, labels, num_clients, 5, generator(seed), **given)
    assert indices.shape == (num_clients, int(sizes.max()))
    assert torch.equal(indices, partition(scheme, labels, num_clients, 5, generator(seed), **given))
    held = [row[:size] for row, size in zip(indices, sizes.tolist(), strict=True)]
    for row, own in zip(indices, held, strict=True):
        assert torch.equal(row, own.repeat(-(-len(row) // len(own)))[: len(row)])
    if 5 * num_clients <= len(labels):
        assert torch.cat(held).unique().numel() == 5 * num_clients
    counts = torch.stack([labels[row].bincount(minlength=7) for row in held])
    if scheme == "sorted":
        assert (counts > 0).sum() <= num_clients * shards + labels.unique().numel() - 1


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_the_size_of_a_client_says_nothing_of_its_classes(scheme):
    """Clients drawn last take what is left; large and small ones must not differ in that: 6 sigma."""
    labels = balanced(20_000)
    sizes = torch.tensor([10, 30]).repeat(500)
    indices = partition(scheme, labels, 1_000, 20, generator(4), alpha=10.0, similarity=1.0, sizes=sizes)
    first = labels[indices[:, 0]]
    shares = torch.stack([first[group::2].bincount(minlength=10) for group in (0, 1)]) / 500
    assert float((shares[0] - shares[1]).abs().max()) <= 6 * math.sqrt(2 * 0.1 * 0.9 / 500)


@given(st.sampled_from(sorted(LAWS)), st.integers(1, 60), st.integers(1, 40), seeds)
def test_sizes_have_their_mean_and_leave_nobody_without(law, num_clients, mean, seed):
    sizes = client_sizes(law, num_clients, mean, generator(seed))
    assert sizes.shape == (num_clients,)
    assert int(sizes.sum()) == num_clients * mean
    assert int(sizes.min()) >= 1
    assert torch.equal(sizes, client_sizes(law, num_clients, mean, generator(seed)))


def test_lognormal_sizes_spread_as_asked_for():
    """The logarithms' deviation, 6 sigma of its estimate; and a Dirichlet's variance of a share."""
    sizes = client_sizes("lognormal", 4_000, 10_000, generator(0), spread=0.5).double()
    assert float(sizes.log().std()) == pytest.approx(0.5, abs=6 * 0.5 / math.sqrt(2 * 4_000))
    shares = client_sizes("dirichlet", 4_000, 10_000, generator(0), alpha=2.0).double() / 10_000
    squares = (shares - 1).square()  # n times a share has variance (n - 1) / (n alpha + 1), about 1 / alpha
    assert abs(float(squares.mean()) - 0.5) <= 6 * float(squares.std()) / math.sqrt(4_000)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"law": "power"}, "no law of sizes named 'power'"),
        ({"num_clients": 0}, "num_clients is 0"),
        ({"mean": 0}, "mean is 0"),
        ({"spread": 0.0}, "spread is 0.0"),
        ({"alpha": math.inf}, "alpha is inf"),
    ],
)
def test_sizes_out_of_range(change, message):
    with pytest.raises(ValueError, match=message):
        client_sizes(**{"law": "lognormal", "num_clients": 3, "mean": 4, **change}, generator=generator(0))


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_seeds_differ_and_the_global_generator_is_not_used(scheme):
    labels = balanced(1_000)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, second = (partition(scheme, labels, 20, None, generator(seed)) for seed in (0, 1))
    assert not torch.equal(first, second)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_one_draw_of_the_generator_whatever_the_scheme(scheme):
    source = generator(0)
    partition(scheme, balanced(100), 5, None, source)
    reference = generator(0)
    torch.randint(2**63 - 1, (), generator=reference)
    assert torch.equal(source.get_state(), reference.get_state())


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_rows_are_in_random_order(scheme):
    """The first label of a row is as often above the last as below: 6 sigma of 4,000 fair comparisons."""
    labels = balanced(40_000)
    rows = labels[partition(scheme, labels, 4_000, None, generator(3), alpha=1.0)].float()
    drift = (rows[:, 0] - rows[:, -1]).sign()
    assert abs(drift.sum()) <= 6 * math.sqrt(4_000)


@pytest.mark.parametrize("scheme", sorted(SCHEMES))
def test_no_place_is_special(scheme):
    """The last clients are like all in their largest class (6 sigma), though who draws last takes what is left."""
    labels = balanced(60_000)
    counts = class_counts(labels, partition(scheme, labels, 1_000, None, generator(4), alpha=10.0), 10).double()
    largest = counts.max(dim=1).values
    assert abs(largest[-50:].mean() - largest.mean()) <= 6 * largest.std() / math.sqrt(50)


def test_all_samples_are_dealt_where_the_clients_divide_them():
    for scheme in SCHEMES:
        assert torch.equal(
            partition(scheme, balanced(600), 20, None, generator(0)).flatten().sort().values, torch.arange(600)
        )


def test_sorted_gives_two_labels_to_a_client():
    labels = balanced(60_000)
    counts = class_counts(labels, partition("sorted", labels, 1_000, None, generator(0)), 10)
    assert (counts > 0).sum(dim=1).max() <= 2  # 6,000 a class: shards of 30 never cross a boundary
    assert (counts > 0).sum() > 1_500  # about nine in ten clients hold two


def test_sorted_shards_of_the_digits():
    labels = load("digits").train.y
    counts = class_counts(labels, partition("sorted", labels, 20, None, generator(0), shards_per_client=2), 10)
    assert (counts > 0).sum(dim=1).max() <= 4  # a shard of 29 or 30 crosses one boundary at most
    assert (counts > 0).sum() <= 20 * 2 + 9


def test_sorted_shards_differ_by_one_sample_where_the_size_does_not_divide():
    labels = torch.arange(35)
    for row in partition("sorted", labels, 7, None, generator(0), shards_per_client=2):
        runs = row.sort().values.diff().gt(1).sum() + 1
        assert runs <= 2  # 3 + 2 neighbours of the sorted order


@pytest.mark.parametrize("similarity", [0.0, 0.3, 0.8])
def test_similarity_is_a_share_of_alike_data_and_one_run_of_the_rest(similarity):
    """Samples numbered by their place in the sorted order: a client's run is what lies close together."""
    clients, size = 50, 100
    labels = torch.arange(clients * size)  # every sample a label of its own, so that a run shows
    rows = partition("similarity", labels, clients, size, generator(0), similarity=similarity)
    in_a_run = size - round(similarity * size)
    for row in rows.sort(dim=1).values:
        spans = row[in_a_run - 1 :] - row[: size - in_a_run + 1]
        # A run of the rest has so many neighbours in the sorted order, between which the alike samples are gone.
        assert int(spans.min()) <= 1.5 * in_a_run / (1 - similarity)
    counts = class_counts(labels // 500, rows, 10).double() / size  # ten classes
    assert float(counts.max(dim=1).values.mean()) == pytest.approx(1 - similarity + 0.1 * similarity, abs=0.05)


def test_similarity_of_1_is_iid_and_of_0_is_sorted_into_one_run():
    labels = balanced(1_000)
    iid, alike = (partition(scheme, labels, 10, None, generator(0), similarity=1.0) for scheme in ("iid", "similarity"))
    assert torch.equal(iid.sort(dim=1).values, alike.sort(dim=1).values)
    counts = class_counts(labels, partition("similarity", labels, 10, None, generator(0), similarity=0.0), 10)
    assert (counts.max(dim=1).values == 100).all()
    assert counts.argmax(dim=1).tolist() != list(range(10))  # the runs are dealt at random


def test_dirichlet_of_small_alpha_is_mostly_one_class():
    labels = balanced(60_000)
    counts = class_counts(labels, partition("dirichlet", labels, 500, 60, generator(0), alpha=0.01), 10)
    assert (counts.max(dim=1).values >= 55).float().mean() > 0.9


@pytest.mark.parametrize("size", [60, 200], ids=["without-replacement", "with-replacement"])
def test_dirichlet_of_large_alpha_follows_the_class_frequencies(size):
    """Pearson's statistic over all clients, false alarm rate 1e-6; drawing without replacement only lowers it."""
    frequencies = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
    labels = torch.repeat_interleave(torch.arange(4), (frequencies * 10_000).long())
    counts = class_counts(labels, partition("dirichlet", labels, 100, size, generator(0), alpha=1e6), 4).double()
    statistic = ((counts - size * frequencies).square() / (size * frequencies)).sum()
    assert statistic < chi2.isf(1e-6, 100 * 3)
    assert statistic > chi2.isf(1 - 1e-6, 100 * 3) / 4  # but it is a sample, not a quota


def test_dirichlet_has_the_mean_and_variance_of_its_law():
    """The share of class k has mean p_k and variance p_k (1 - p_k) (1 / s + (1 - 1 / s) / (1 + alpha)): 6 sigma."""
    labels, clients, size, alpha = balanced(1_000_000, 4), 2_000, 50, 0.5
    shares = class_counts(labels, partition("dirichlet", labels, clients, size, generator(0), alpha=alpha), 4) / size
    variance = 0.25 * 0.75 * (1 / size + (1 - 1 / size) / (1 + alpha))
    squares = (shares - 0.25).square()
    assert ((shares.mean(dim=0) - 0.25).abs() <= 6 * math.sqrt(variance / clients)).all()
    assert ((squares.mean(dim=0) - variance).abs() <= 6 * squares.std(dim=0) / math.sqrt(clients)).all()


def test_counts_without_replacement_follow_the_law_of_drawing_sample_by_sample():
    """Against the procedure word for word, where pools run dry: means and variances of 4,000 runs, 6 sigma each."""
    pools, wanted, size, runs = np.array([3, 5, 40, 40]), np.array([0.6, 0.2, 0.15, 0.05]), 20, 4_000
    rng = np.random.default_rng(0)
    deal = Deal(np.repeat(np.arange(4), pools), 1, size, 2, 1.0, rng)

    def sample_by_sample() -> np.ndarray:
        left, share = pools.copy(), wanted.copy()
        for _ in range(size):
            k = rng.choice(4, p=share)
            left[k] -= 1
            share = np.where(left > 0, share, 0.0)
            share /= share.sum()
        return pools - left

    ours = np.stack([_counts_without_replacement(wanted[None], pools / 88, pools, deal)[0] for _ in range(runs)])
    theirs = np.stack([sample_by_sample() for _ in range(runs)])
    for one, other in ((ours, theirs), ((ours - ours.mean(axis=0)) ** 2, (theirs - theirs.mean(axis=0)) ** 2)):
        error = np.sqrt((one.var(axis=0) + other.var(axis=0)) / runs)
        assert (abs(one.mean(axis=0) - other.mean(axis=0)) <= 6 * error + 1e-12).all()


def test_dirichlet_where_all_but_one_proportion_underflow():
    """One class a client, whichever: an exhausted class is replaced by another whole one."""
    labels = balanced(400, 4)
    counts = class_counts(labels, partition("dirichlet", labels, 40, 10, generator(0), alpha=1e-200), 4)
    assert counts.sum(dim=0).tolist() == [100] * 4
    assert (counts.max(dim=1).values == 10).all()


def test_a_hundred_thousand_clients_take_seconds():
    labels = balanced(60_000)
    start = time.perf_counter()
    assert partition("dirichlet", labels, 100_000, 60, generator(0)).shape == (100_000, 60)
    assert partition("dirichlet", balanced(200_000), 100_000, 2, generator(0)).shape == (100_000, 2)
    assert time.perf_counter() - start < 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_clients": 0}, "num_clients is 0, but must be an integer >= 1"),
        ({"num_clients": math.nan}, "num_clients is nan"),
        ({"samples_per_client": 0}, "samples_per_client is 0"),
        ({"shards_per_client": 0}, "shards_per_client is 0"),
        ({"alpha": 0.0}, r"alpha is 0.0, but must be in \(0, inf\)"),
        ({"alpha": -1.0}, "alpha is -1.0"),
        ({"alpha": math.nan}, "alpha is nan"),
        ({"alpha": math.inf}, "alpha is inf"),
        ({"similarity": -0.1}, "similarity is -0.1, but must be between 0 and 1"),
        ({"similarity": math.nan}, "similarity is nan"),
        ({"sizes": torch.tensor([1, 2, 3])}, r"sizes is \[1, 2, 3\], but must be 2 integers >= 1, one a client"),
        ({"sizes": torch.tensor([1, 0])}, r"sizes is \[1, 0\]"),
        ({"sizes": torch.tensor([1.0, 2.0])}, r"sizes is \[1.0, 2.0\]"),
        ({"labels": torch.empty(0, dtype=torch.int64)}, "labels is .*shape"),
        ({"labels": torch.zeros(3, 3, dtype=torch.int64)}, "labels is .*shape"),
        ({"labels": torch.tensor([0.0, math.nan])}, "labels is .*float32"),
        ({"scheme": "dirichet"}, "no partition scheme named 'dirichet': did you mean dirichlet"),
    ],
)
def test_arguments_out_of_range(change, message):
    given = {"scheme": "iid", "labels": balanced(10), "num_clients": 2, "samples_per_client": None, **change}
    with pytest.raises(ValueError, match=message):
        partition(**given, generator=generator(0))


def test_class_counts_refuses_labels_that_it_cannot_count():
    with pytest.raises(ValueError, match="num_classes is 9, but must be greater than the largest label, 9"):
        class_counts(balanced(10), torch.zeros(2, 2, dtype=torch.int64), 9)
