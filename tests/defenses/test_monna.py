"""MoNNA's mixing: published values, the definition in float64 by both ways to the distances, the trust in the pivot."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, ServerRound, Setting
from bench.rules.gram import distances_to, gram_matrix
from defenses.bucketing import Bucketing
from defenses.monna import MoNNA, monna


def test_published_values(square: Tensor, larger: Tensor, first_nine: Tensor) -> None:
    """ByzFL's documentation, and its 0.0.11 on the larger example around rows 0 and 10."""
    assert monna(square, 1, pivot=1).tolist() == [2.5, 3.5, 4.5]
    torch.testing.assert_close(monna(larger, 3), first_nine, rtol=0, atol=1e-6)
    around_10 = torch.tensor([9.0277778, 10.6111111, 11.75, 7.4166667, 10.9166667, 6.9166667], dtype=torch.float64)
    torch.testing.assert_close(monna(larger, 3, pivot=10), around_10, rtol=0, atol=1e-6)


@pytest.mark.parametrize("pivot", [0, 6])
def test_the_choice_is_that_of_the_definition_from_rows_and_from_their_products(
    adverse_rows: Tensor, pivot: int, make_setting: Callable[..., Setting]
) -> None:
    apart = (adverse_rows.double() - adverse_rows[pivot].double()).square().sum(dim=1)
    expected = adverse_rows[apart.argsort(stable=True)[:7]].double().mean(dim=0)
    rule = MoNNA(pivot=pivot)
    for weights in (rule.weights(gram_matrix(adverse_rows), 4), rule.weigh(adverse_rows, 4)):
        assert weights.count_nonzero() == 7
        torch.testing.assert_close(weights @ adverse_rows.double(), expected)


@pytest.mark.parametrize("size", [1.0, 1e25, 1e38])
def test_distances_from_a_row_survive_rows_of_any_size(size: float) -> None:
    rows = torch.randn(5, 300, generator=torch.Generator().manual_seed(0))
    rows[4] = size
    expected = (rows.double() - rows[1].double()).square().sum(dim=1).sqrt()
    torch.testing.assert_close(distances_to(rows[1], rows), expected, rtol=1e-5, atol=0)


@given(st.integers(0, 10**6), st.integers(0, 3), st.sampled_from([1.0, 1e6, 1e38]))
def test_around_an_honest_pivot_it_is_as_near_as_the_honest_rows(seed: int, forged: int, size: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    honest = torch.randn(7, 3, generator=generator)
    lies = (size * torch.randn(forged, 3, generator=generator)).clamp(-3e38, 3e38)
    found = monna(torch.cat([honest, lies]), forged)
    farthest = float((honest - honest[0]).norm(dim=1).max())
    assert float((found - honest[0]).norm()) <= farthest * (1 + 1e-5)


def test_around_a_forged_pivot_nothing_holds_and_nothing_is_claimed(make_setting: Callable[..., Setting]) -> None:
    rows = torch.zeros(7, 1)
    rows[0] = 7e6
    assert monna(rows, 2).item() == pytest.approx(7e6 / 5)
    assert not MoNNA().tolerates(0.05, make_setting())


def test_what_it_cannot_do_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="num_byzantine is 2, but must be between 0 and 1"):
        monna(torch.zeros(4, 2), 2)
    with pytest.raises(ValueError, match="pivot is 4, but must be between 0 and 3"):
        monna(torch.zeros(4, 2), 1, pivot=4)
    with pytest.raises(ValueError, match="pivot"):
        MoNNA(pivot=20).start(make_setting())


def play(rule: MoNNA, setting: Setting, seed: int, rounds: list[list[int]]) -> list[int]:
    """Who is the pivot in rounds of these clients, each of whom sends its name; with f = 0 nothing else would show."""
    memory: dict[str, Tensor] = {}
    found = []
    for index, names in enumerate(rounds):
        messages, draws = torch.tensor(names, dtype=torch.float32).unsqueeze(1), torch.Generator().manual_seed(seed)
        weights, clients = torch.full((len(names),), 1 / len(names)), torch.tensor(names)
        server = ServerRound(index, setting, torch.zeros(1), weights, draws, memory=memory, clients=clients)
        rule.aggregate(Delivered(messages, senders=torch.arange(len(names))), server)
        found.append(rule.singled_out(memory)["pivot"])
    return found


def test_the_pivot_is_one_client_throughout_and_another_in_other_seeds(make_setting: Callable[..., Setting]) -> None:
    everybody = [list(range(20))] * 3
    found = [play(MoNNA(), make_setting(), seed, everybody) for seed in range(40)]
    assert all(len(set(one)) == 1 for one in found)
    assert len({one[0] for one in found}) >= 10  # 40 draws of 20: fewer than ten with probability below 1e-9
    assert play(MoNNA(), make_setting(), 0, everybody) == found[0]


def test_where_the_pivot_is_not_in_the_sample_the_next_of_the_order_stands_in(
    make_setting: Callable[..., Setting],
) -> None:
    setting = make_setting(participants=10)
    first, second, again = play(
        MoNNA(), setting, 5, [list(range(20))[::2], list(range(1, 20, 2)), list(range(20))[::2]]
    )
    assert first == again
    assert first % 2 == 0
    assert second % 2 == 1


def test_the_drawn_pivot_is_the_one_that_the_mean_is_around(make_setting: Callable[..., Setting]) -> None:
    rows = torch.arange(20.0).unsqueeze(1) ** 2
    weights, clients, memory = torch.full((20,), 0.05), torch.arange(20), dict[str, Tensor]()
    draws = torch.Generator().manual_seed(1)
    server = ServerRound(0, make_setting(), torch.zeros(1), weights, draws, memory=memory, clients=clients)
    found = MoNNA().aggregate(Delivered(rows, senders=clients), server)
    torch.testing.assert_close(found, monna(rows, 4, pivot=int(memory["pivot"])))


def test_mixed_messages_are_nobodys_and_one_of_them_is_the_pivot(make_setting: Callable[..., Setting]) -> None:
    rule = Bucketing(rule="monna", bucket_size=2)
    weights, memory, clients = torch.full((20,), 0.05), dict[str, Tensor](), torch.arange(20)
    draws = torch.Generator().manual_seed(1)
    server = ServerRound(0, make_setting(), torch.zeros(1), weights, draws, memory=memory, clients=clients)
    rule.aggregate(Delivered(torch.randn(20, 1, generator=draws), senders=clients), server)
    assert 0 <= int(memory["pivot"]) < 10
    assert rule.singled_out(memory) == {}
