"""Bucketing: every message in one bucket, means of what they hold, random but for the generator."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from defenses.bucketing import bucketing


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(st.integers(1, 20), st.integers(1, 20), st.integers(0, 99))
def test_each_message_lies_in_one_bucket_and_counts_as_its_share(n: int, s: int, seed: int) -> None:
    """Unit vectors show who is where: a column has one entry, 1 / size, and a bucket holds at most s."""
    s = min(s, n)
    buckets = bucketing(torch.eye(n, dtype=torch.float64), generator(seed), s)
    assert buckets.shape == (-(-n // s), n)
    sizes = (buckets > 0).sum(dim=1)
    assert sizes.tolist() == [s] * (n // s) + [n % s] * (n % s > 0)
    torch.testing.assert_close(buckets.sum(dim=1), torch.ones(len(buckets), dtype=torch.float64))
    assert (buckets > 0).sum(dim=0).tolist() == [1] * n


def test_published_values() -> None:
    """ByzFL's documentation: {x1, x3} and x2, or {x2, x3} and x1, as the order falls; the last is not divided by s."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    seen = {str(bucketing(x, generator(seed), 2).tolist()) for seed in range(40)}
    assert seen == {
        "[[4.0, 5.0, 6.0], [4.0, 5.0, 6.0]]",
        "[[5.5, 6.5, 7.5], [1.0, 2.0, 3.0]]",
        "[[2.5, 3.5, 4.5], [7.0, 8.0, 9.0]]",
    }


def test_one_a_bucket_is_a_permutation_and_one_bucket_the_mean() -> None:
    messages = torch.randn(9, 4, generator=generator(0))
    shuffled = bucketing(messages, generator(1), 1)
    assert sorted(shuffled.tolist()) == sorted(messages.tolist())
    assert not torch.equal(shuffled, messages)
    torch.testing.assert_close(bucketing(messages, generator(1), 9), messages.mean(dim=0, keepdim=True))


def test_the_generator_is_all_the_chance_there_is() -> None:
    messages = torch.randn(10, 4, generator=generator(0))
    assert torch.equal(bucketing(messages, generator(5)), bucketing(messages, generator(5)))
    assert not torch.equal(bucketing(messages, generator(5)), bucketing(messages, generator(6)))


def test_pairs_are_as_likely_as_they_should_be() -> None:
    """Of 4 messages in pairs, the first meets each other one in a third of 3000 draws: 6 standard deviations."""
    met = torch.zeros(4)
    for seed in range(3000):
        buckets = bucketing(torch.eye(4), generator(seed))
        own = buckets[buckets[:, 0] > 0][0]
        met += own > 0
    assert met[0] == 3000
    assert bool(((met[1:] - 1000).abs() < 6 * (3000 * 2 / 9) ** 0.5).all())


@pytest.mark.parametrize("s", [0, 4])
def test_bucket_sizes_out_of_range_are_refused(s: int) -> None:
    with pytest.raises(ValueError, match=f"bucket_size is {s}"):
        bucketing(torch.zeros(3, 2), generator(0), s)
