"""signSGD with majority vote: votes, the server's step, what an attacker on the server learns, and a training."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from attacks.sign_flip import SignFlip
from bench.attacking.inversion import observations
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.plays.metrics import accuracy_and_loss
from bench.protocol import Delivered, LocalRound, ServerRound, Setting
from bench.threat import View, server_view
from defenses.sign_majority import SignMajority, sign_majority


def test_the_most_votes_win_and_a_tie_moves_nothing() -> None:
    messages = torch.tensor([[9.0, -1.0, 0.0, 2.0], [-0.1, -5.0, 0.0, -2.0], [0.2, 3.0, 0.0, 0.0]])
    assert sign_majority(messages).tolist() == [1.0, -1.0, 0.0, 0.0]
    assert sign_majority(torch.sign(messages).to(torch.int8)).tolist() == [1, -1, 0, 0]
    loud = torch.tensor([[9.0], [-0.1], [-0.2]])
    assert sign_majority(loud).item() == -1.0  # the sign of the sum would be 1


def test_published_example() -> None:
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert sign_majority(x).tolist() == [1.0] * 3


@given(st.lists(st.lists(st.integers(-3, 3), min_size=3, max_size=3), min_size=1, max_size=9), st.floats(0.1, 1e30))
def test_it_counts_votes_whatever_their_size(rows: list[list[int]], size: float) -> None:
    expected = []
    for column in zip(*rows, strict=True):
        plus, minus = sum(v > 0 for v in column), sum(v < 0 for v in column)
        expected.append(float((plus > minus) - (plus < minus)))
    assert sign_majority(size * torch.tensor(rows, dtype=torch.float64)).tolist() == expected


def test_clients_send_the_sign_of_their_gradient_and_the_server_steps_against_it(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """server_lr 0.5 in round 6 at a decay of 2: 0.5 / sqrt(1 + 3) = 0.25."""
    setting = make_setting(participants=3, lr=0.8, lr_decay=2.0)
    updates = torch.tensor([[-0.1, 2.0, 0.0], [-5.0, 1.0, 0.0], [1.0, -1.0, 3.0]])
    local = LocalRound(6, torch.arange(3), setting, torch.zeros(3), updates, torch.ones(3) / 3, torch.Generator())
    upload = SignMajority().upload(local)
    assert upload.messages.dtype == torch.int8
    assert upload.messages.tolist() == [[1, -1, 0], [1, -1, 0], [-1, 1, -1]]
    server = server_round(setting, torch.tensor([1.0, 1.0, 1.0]), 3, index=6)
    found = SignMajority(server_lr=0.5).aggregate(Delivered(upload.messages, torch.arange(3)), server)
    assert found.tolist() == [0.75, 1.25, 1.25]
    assert SignMajority().upload_bytes(make_setting(dim=7)) == 2


def test_a_round_in_sums_is_the_round_in_messages(make_federation: Callable[..., Federation]) -> None:
    played = [
        make_federation(SignMajority(), SignFlip(), 0.2, messages=messages) for messages in ("always", "as_needed")
    ]
    for _ in range(3):
        for federation in played:
            federation.advance()
    assert torch.equal(played[0].global_model, played[1].global_model)


def test_it_learns_while_a_third_votes_the_other_way(
    make_federation: Callable[..., Federation], digits: Dataset
) -> None:
    federation = make_federation(SignMajority(), SignFlip(), 0.3, rounds=20, lr=0.5)
    for _ in range(20):
        federation.advance()
    assert accuracy_and_loss(federation.model, federation.global_model, digits.test)[0] > 0.7
    assert SignMajority().tolerates(0.3, federation.setting)
    assert not SignMajority().tolerates(0.5, federation.setting)


def test_the_servers_view_is_the_sign_of_the_gradient_at_the_broadcast(
    make_federation: Callable[..., Federation], digits: Dataset
) -> None:
    """What the inversion is told agrees with the target's own update, in every round."""
    federation = make_federation(SignMajority(), rounds=3, local_steps=1)
    transcripts = list(federation.rounds())
    targets = torch.tensor([4, 11])
    seen = tuple(server_view(transcript, targets) for transcript in transcripts)
    view = View(federation.facts(digits.mean, digits.std), targets, seen, digits.shape, digits.train.x.mean(dim=0))
    known = observations(view, [round_.estimate for round_ in seen])
    assert len(known) == 3
    for observation, transcript in zip(known, transcripts, strict=True):
        assert observation.sign
        assert observation.offset is not None
        assert torch.equal(observation.params, transcript.broadcast)
        gradient = -transcript.updates[targets] / observation.lr
        signs = torch.sign(observation.offset + observation.lr * gradient)
        torch.testing.assert_close(observation.target, signs, check_dtype=False)


@pytest.mark.parametrize("server_lr", [0.0, -1.0])
def test_a_step_must_be_positive(server_lr: float) -> None:
    with pytest.raises(ValueError, match="server_lr"):
        SignMajority(server_lr=server_lr)
