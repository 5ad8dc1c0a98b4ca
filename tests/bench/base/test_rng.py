"""Seeds: golden values, because a seed that moves changes every record; and no two draws share one."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bench.base.rng import derive_seed, fork, generator, shuffled

labellings = st.lists(st.text(max_size=8) | st.integers(-(2**70), 2**70), max_size=4)
seeds = st.integers(0, 2**63)


@pytest.mark.parametrize(
    ("seed", "labels", "golden"),
    [  # `printf '[0, "partition"]' | sha256sum | head -c 16`, over two
        (0, ("partition",), 0x5BBFE301CD29E532 >> 1),
        (7, ("batches", 3), 0xF59A433CC58CEE3A >> 1),
        (1, (), 0x080A9ED428559EF6 >> 1),
    ],
)
def test_seeds_never_move(seed: int, labels: tuple[str | int, ...], golden: int) -> None:
    assert derive_seed(seed, *labels) == golden


def test_the_draws_never_move() -> None:
    drawn = torch.randint(1000, (5,), generator=generator(0, "partition"))
    expected = torch.randint(1000, (5,), generator=torch.Generator().manual_seed(3305626187439862425))
    assert torch.equal(drawn, expected)


@given(seeds, labellings, seeds, labellings)
def test_different_labels_give_different_seeds(
    seed: int, labels: list[str | int], other_seed: int, other_labels: list[str | int]
) -> None:
    same = (seed, labels) == (other_seed, other_labels)
    assert (derive_seed(seed, *labels) == derive_seed(other_seed, *other_labels)) == same
    assert 0 <= derive_seed(seed, *labels) < 2**63


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (("a", "b"), ("ab",)),
        (("a", "b"), ("b", "a")),
        ((1, 2), (12,)),
        (("1",), (1,)),
        ((), ("",)),
        (("a, b",), ("a", "b")),
        (('a", "b',), ("a", "b")),
    ],
)
def test_labels_that_look_alike_are_told_apart(left: tuple[str | int, ...], right: tuple[str | int, ...]) -> None:
    assert derive_seed(0, *left) != derive_seed(0, *right)


@given(seeds, labellings)
def test_a_generator_is_reproducible(seed: int, labels: list[str | int]) -> None:
    first, again = (torch.rand(4, generator=generator(seed, *labels)) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, torch.rand(4, generator=generator(seed, *labels, "other")))


def test_generators_share_no_state_with_each_other_or_with_torch() -> None:
    state = torch.get_rng_state()
    one, other = generator(0, "a"), generator(0, "a")
    torch.rand(10, generator=one)
    assert torch.equal(torch.rand(3, generator=other), torch.rand(3, generator=generator(0, "a")))
    assert torch.equal(torch.get_rng_state(), state)


@given(st.integers(0, 50), labellings)
def test_a_fork_does_not_depend_on_what_was_drawn(drawn: int, labels: list[str | int]) -> None:
    source, fresh = generator(5, "source"), generator(5, "source")
    torch.rand(drawn, generator=source)
    state = source.get_state()
    assert torch.equal(torch.rand(4, generator=fork(source, *labels)), torch.rand(4, generator=fork(fresh, *labels)))
    assert torch.equal(source.get_state(), state)


def test_forks_differ_from_their_source_and_by_label() -> None:
    source = generator(5, "source")
    draws = [
        torch.rand(4, generator=g) for g in (generator(5, "source"), fork(source), fork(source, 0), fork(source, 1))
    ]
    for i, draw in enumerate(draws):
        assert not any(torch.equal(draw, other) for other in draws[i + 1 :])
    assert fork(source, 0).device == source.device


@given(st.integers(0, 40), seeds)
def test_shuffled_numbers_are_all_of_them_in_the_generator_s_order(count: int, seed: int) -> None:
    drawn = shuffled(count, generator(seed, "order"))
    assert sorted(drawn.tolist()) == list(range(count))
    assert torch.equal(drawn, torch.randperm(count, generator=generator(seed, "order")))
