"""Who colludes, and what a server with colluders sees of its targets: counted, nested, and worked by hand."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from bench.protocol import Delivered, PeerMessages
from bench.threat import RoundTranscript, Saboteurs, choose_colluders, server_view, strip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ------------------------------------------------------------------------------------------------------- who colludes


@given(st.integers(2, 40), st.floats(0, 1), st.integers(0, 99), st.data())
def test_rho_of_the_others_collude_and_never_the_target(n: int, rho: float, seed: int, data: st.DataObject) -> None:
    targets = torch.tensor(data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=5)))
    colluders = choose_colluders(n, targets, rho, seeded(seed))
    assert colluders.shape == (len(targets), n)
    assert colluders.dtype == torch.bool
    assert not bool(colluders[torch.arange(len(targets)), targets].any())
    assert len(set(colluders.sum(dim=1).tolist())) == 1
    assert abs(int(colluders[0].sum()) - rho * (n - 1)) <= 0.5 + 1e-9


@given(st.integers(2, 40), st.lists(st.floats(0, 1), min_size=2, max_size=5), st.integers(0, 99))
def test_more_colluders_are_a_superset(n: int, rhos: list[float], seed: int) -> None:
    targets = torch.arange(n)
    nested = [choose_colluders(n, targets, rho, seeded(seed)) for rho in sorted(rhos)]
    for fewer, more in pairwise(nested):
        assert bool((fewer <= more).all())


def test_nobody_at_0_and_all_others_at_1() -> None:
    targets = torch.tensor([3, 0])
    assert not bool(choose_colluders(6, targets, 0.0, seeded()).any())
    assert choose_colluders(6, targets, 1.0, seeded()).sum(dim=1).tolist() == [5, 5]


def test_everybody_is_as_likely_to_collude() -> None:
    """3,000 draws of 4 of 8 others: 1,500 each; 6 sigma, false alarm 2e-8."""
    counts = torch.zeros(9)
    for seed in range(3000):
        counts += choose_colluders(9, torch.tensor([4]), 0.5, seeded(seed))[0]
    others = torch.cat([counts[:4], counts[5:]])
    assert float((others - 1500).abs().max()) < 6 * (3000 / 4) ** 0.5


# ------------------------------------------------------------------------------------------------- what the server sees

NAMES = torch.tensor([2, 5, 7, 9])
MESSAGES = torch.tensor([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0]])


@dataclass
class TwoLegs(PeerMessages):
    """Client k of the round sends 10^k to the next one, then 2 * 10^k to the one before."""

    def legs(self) -> Iterator[tuple[Tensor, Tensor]]:
        values = torch.tensor([[1.0], [10.0], [100.0], [1000.0]]).expand(4, 2)
        yield values, torch.tensor([1, 2, 3, 0])
        yield 2 * values, torch.tensor([3, 0, 1, 2])


def transcript(delivered: Delivered, messages: Tensor = MESSAGES, peers: PeerMessages | None = None) -> RoundTranscript:
    return RoundTranscript(4, torch.zeros(2), NAMES, messages, delivered, peers, updates=messages)


def against(*accomplices: list[int]) -> Tensor:
    """Colluders `(T, 10)` by name."""
    colluders = torch.zeros(len(accomplices), 10, dtype=torch.bool)
    for row, names in zip(colluders, accomplices, strict=True):
        row[names] = True
    return colluders


def unlinked(messages: Tensor = MESSAGES) -> Delivered:
    return Delivered(messages, senders=None, mix=lambda rows: rows.flip(0))


def test_linked_rows_belong_to_their_senders() -> None:
    seen = server_view(transcript(Delivered(MESSAGES, torch.arange(4))), torch.tensor([7, 2]))
    assert seen.estimate.tolist() == [[4.0, 40.0], [1.0, 10.0]]
    assert seen.hidden_among.tolist() == [1, 1]
    assert (seen.index, seen.broadcast.tolist()) == (4, [0.0, 0.0])


def test_rows_that_arrive_in_another_order_do_so_too() -> None:
    order = torch.tensor([3, 0, 2])
    seen = server_view(transcript(Delivered(MESSAGES[order], order)), torch.tensor([2, 7, 9]))
    assert seen.estimate.tolist() == [[1.0, 10.0], [4.0, 40.0], [8.0, 80.0]]


def test_a_message_that_never_arrived_is_not_seen() -> None:
    arrived = torch.tensor([0, 2, 3])
    seen = server_view(transcript(Delivered(MESSAGES[arrived], arrived)), torch.tensor([5, 9]))
    assert seen.estimate.tolist() == [[0.0, 0.0], [8.0, 80.0]]


def test_an_unlinked_row_is_the_mean_of_all() -> None:
    seen = server_view(transcript(unlinked()), torch.tensor([5, 9]))
    assert seen.estimate.tolist() == [[3.75, 37.5], [3.75, 37.5]]
    assert seen.hidden_among.tolist() == [4, 4]


def test_colluders_take_their_own_rows_out_of_the_crowd() -> None:
    """Target 5 against 2 and 9, target 9 against all others; name 0 colludes and did not take part."""
    colluders = against([0, 2, 9], [0, 2, 5, 7])
    seen = server_view(transcript(unlinked()), torch.tensor([5, 9]), colluders)
    assert seen.estimate.tolist() == [[3.0, 30.0], [8.0, 80.0]]
    assert seen.hidden_among.tolist() == [2, 1]


def test_ternary_counts_do_not_overflow() -> None:
    messages = torch.ones(4, 2, dtype=torch.int8)
    names = torch.arange(300)
    many = RoundTranscript(
        0, torch.zeros(2), names, messages[:1].expand(300, 2), unlinked(messages[:1].expand(300, 2)), None, messages
    )
    assert server_view(many, torch.tensor([17])).estimate.tolist() == [[1.0, 1.0]]


def test_a_linked_row_is_exact_whoever_colludes() -> None:
    seen = server_view(transcript(Delivered(MESSAGES, torch.arange(4))), torch.tensor([5]), against([2, 7, 9]))
    assert seen.estimate.tolist() == [[2.0, 20.0]]
    assert seen.hidden_among.tolist() == [1]


def test_colluders_open_their_letters_to_and_from_the_target() -> None:
    """Target 5 (row 1) sends 10 to row 2 and 20 to row 0, gets 1 from row 0 and 200 from row 2."""
    full = transcript(Delivered(MESSAGES, torch.arange(4)), peers=TwoLegs())
    expected = {(2,): (20.0, 1.0), (7,): (10.0, 200.0), (2, 7, 9): (30.0, 201.0), (9,): (0.0, 0.0)}
    for names, (sent, got) in expected.items():
        seen = server_view(full, torch.tensor([5]), against(list(names)))
        assert seen.shares_sent is not None
        assert seen.shares_got is not None
        assert seen.shares_sent.tolist() == [[sent, sent]]
        assert seen.shares_got.tolist() == [[got, got]]
        assert strip(seen).tolist() == [[2.0 + sent - got, 20.0 + sent - got]]


def test_each_target_has_colluders_of_its_own() -> None:
    full = transcript(Delivered(MESSAGES, torch.arange(4)), peers=TwoLegs())
    seen = server_view(full, torch.tensor([2, 9]), against([5], []))
    assert seen.shares_sent is not None
    assert seen.shares_got is not None
    assert seen.shares_sent.tolist() == [[1.0, 1.0], [0.0, 0.0]]
    assert seen.shares_got.tolist() == [[20.0, 20.0], [0.0, 0.0]]


@pytest.mark.parametrize("single", [True, False])
def test_letters_are_counted_and_kept_one_by_one_where_asked(single: bool) -> None:
    """Target 5 (row 1) gets 1 from row 0 (name 2) in the first leg, and 200 from row 2 (name 7) in the second."""
    full = transcript(Delivered(MESSAGES, torch.arange(4)), peers=TwoLegs())
    expected = {
        (2,): (1, 1, [1.0, 0.0]),
        (7,): (1, 1, [0.0, 200.0]),
        (2, 7): (2, 2, [1.0, 200.0]),
        (9,): (0, 0, [0.0] * 2),
    }
    for names, (num_sent, num_got, each) in expected.items():
        seen = server_view(full, torch.tensor([5]), against(list(names)), single)
        assert seen.num_sent is not None
        assert seen.num_got is not None
        assert (seen.num_sent.tolist(), seen.num_got.tolist()) == ([num_sent], [num_got])
        assert (seen.each_got is None) is not single
        if seen.each_got is not None:
            assert seen.each_got.tolist() == [[[value, value] for value in each]]


def test_what_was_zeros_is_known_as_zeros_and_counted() -> None:
    """Name 2 sends target 5 zeros, and target 9 its share: 2 * 1 = 2 from row 0 in the second leg, 100 in the first."""
    mute = torch.zeros(4, 4, dtype=torch.bool)
    mute[0, 1] = True
    full = replace(transcript(Delivered(MESSAGES, torch.arange(4)), peers=TwoLegs()), mute=mute)
    seen = server_view(full, torch.tensor([5, 9]), against([2, 7], [2, 7]), single_shares=True)
    assert seen.each_got is not None
    assert seen.num_got is not None
    assert seen.each_got[:, :, 0].tolist() == [[0.0, 200.0], [100.0, 2.0]]
    assert seen.shares_got is not None
    assert seen.shares_got[:, 0].tolist() == [200.0, 102.0]
    assert seen.num_got.tolist() == [2, 2]
    assert seen.shares_sent is not None
    assert seen.shares_sent[:, 0].tolist() == [30.0, 3000.0]  # what the targets sent arrived all the same


def test_colluders_fall_silent_towards_their_target_alone() -> None:
    """Targets 5 and 9, against 2 and 7, and against 5; of the round are 2, 5, 7 and 9."""
    saboteurs = Saboteurs(torch.tensor([5, 9]), against([0, 2, 7], [5]))
    assert saboteurs.mute(NAMES).nonzero().tolist() == [[0, 1], [1, 3], [2, 1]]


def test_of_targets_and_colluders_only_those_of_the_round_count() -> None:
    saboteurs = Saboteurs(torch.tensor([5, 8, 9]), against([2, 7], [2, 7, 9], [1, 3, 7]))
    assert saboteurs.mute(torch.tensor([1, 3, 7, 9])).nonzero().tolist() == [[0, 3], [1, 3], [2, 3]]
    assert not bool(saboteurs.mute(torch.tensor([0, 1])).any())


@given(st.integers(2, 12), st.floats(0, 1), st.integers(0, 99), st.data())
def test_a_client_is_mute_exactly_where_it_colludes(n: int, rho: float, seed: int, data: st.DataObject) -> None:
    targets = torch.tensor(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=1, max_size=4))))
    participants = torch.tensor(sorted(data.draw(st.sets(st.integers(0, n - 1), min_size=2))))
    colluders = choose_colluders(n, targets, rho, seeded(seed))
    mute = Saboteurs(targets, colluders).mute(participants)
    for row, sender in enumerate(participants.tolist()):
        for column, receiver in enumerate(participants.tolist()):
            game = targets.tolist().index(receiver) if receiver in targets.tolist() else None
            assert bool(mute[row, column]) == (game is not None and bool(colluders[game, sender]))


@pytest.mark.parametrize("colluders", [None, against([])], ids=["passive", "nobody"])
def test_a_server_alone_sees_no_letters(colluders: Tensor | None) -> None:
    full = transcript(Delivered(MESSAGES, torch.arange(4)), peers=TwoLegs())
    seen = server_view(full, torch.tensor([5]), colluders)
    assert seen.shares_sent is None
    assert seen.shares_got is None
    assert strip(seen).tolist() == [[2.0, 20.0]]


@pytest.mark.parametrize("target", [0, 3, 8, 10])
def test_a_target_that_did_not_take_part_is_refused(target: int) -> None:
    with pytest.raises(ValueError, match="participants"):
        server_view(transcript(Delivered(MESSAGES, torch.arange(4))), torch.tensor([5, target]))
