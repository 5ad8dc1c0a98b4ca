"""FoolsGold: the paper's loops in float64, sybils, a hand-worked pardon, refusals."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.sign_flip import SignFlip
from bench.federation.engine import Federation
from bench.protocol import Delivered, ServerRound, Setting
from bench.rules.gram import gram_matrix
from bench.threat import RoundTranscript
from defenses.foolsgold import FoolsGold, foolsgold, foolsgold_weights
from defenses.nnm import NNM


def by_definition(messages: Tensor, kappa: float = 1.0) -> list[float]:
    """The paper's algorithm, loop by loop, without its history; weights that add up to 1."""
    rows, n = messages.double(), len(messages)
    cs = [[float(a @ b / (a.norm() * b.norm())) for b in rows] for a in rows]
    for i in range(n):
        cs[i][i] = 0.0
    v = [max(row) for row in cs]
    for i in range(n):
        for j in range(n):
            if v[j] > v[i]:
                cs[i][j] *= v[i] / v[j]
    alpha = [min(1.0, max(0.0, 1 - max(row))) for row in cs]
    top = max(alpha)
    logits = []
    for a in (value / top for value in alpha):
        logit = math.inf if a >= 1 else -math.inf if a <= 0 else math.log(a / (1 - a))
        logits.append(min(1.0, max(0.0, kappa * (logit + 0.5))))
    return [value / sum(logits) for value in logits]


def test_pardoned_by_hand() -> None:
    """Unit vectors at 0, 0 and 60 degrees: v = (1, 1, 1/2). The third is pardoned: 1/2 * 1/2 = 1/4, alpha = 3/4; the
    twins have none. Rescaled it is 1, whose logit is clipped to 1: it alone counts.
    """
    third = [0.5, math.sqrt(0.75)]
    messages = torch.tensor([[1.0, 0.0], [1.0, 0.0], third], dtype=torch.float64)
    torch.testing.assert_close(foolsgold(messages), torch.tensor(third, dtype=torch.float64))


def test_published_example() -> None:
    """x = [[1,2,3],[4,5,6],[7,8,9]]: cosines .975, .959, .998; the logit leaves the first one alone."""
    x = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]])
    assert by_definition(x) == [1.0, 0.0, 0.0]
    torch.testing.assert_close(foolsgold(x), x[0])


@pytest.mark.parametrize("kappa", [0.3, 1.0, 4.0])
@pytest.mark.parametrize("kind", ["plain", "alike", "some sybils", "few coordinates"])
def test_the_weights_are_the_definitions_in_float64(kind: str, kappa: float) -> None:
    messages = torch.randn(12, 2000, generator=torch.Generator().manual_seed(0))
    if kind == "alike":
        messages = messages + 20
    elif kind == "some sybils":
        messages[:4] = messages[0] + 0.1 * messages[:4]
    elif kind == "few coordinates":  # cosines of all sizes, so that no two weights are the same
        messages = messages[:, :4]
    expected = torch.tensor(by_definition(messages, kappa), dtype=torch.float64)
    found = foolsgold_weights(gram_matrix(messages, origin=True), kappa)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_sybils_that_say_the_same_do_not_count_however_many_and_however_loud() -> None:
    messages = torch.randn(12, 500, generator=torch.Generator().manual_seed(1))
    messages[:9] = messages[0] * torch.linspace(1, 50, 9)[:, None]
    weights = foolsgold_weights(gram_matrix(messages, origin=True))
    assert weights[:9].tolist() == [0.0] * 9
    assert weights.sum().item() == pytest.approx(1.0)


def test_lengths_do_not_change_the_weights_and_zero_messages_have_no_direction() -> None:
    messages = torch.randn(6, 50, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    scaled = messages * torch.tensor([1.0, 2, 3, 0.1, 50, 1])[:, None]
    weights = [foolsgold_weights(gram_matrix(rows, origin=True)) for rows in (messages, scaled)]
    torch.testing.assert_close(*weights)
    with_zero = foolsgold_weights(gram_matrix(torch.cat([messages, torch.zeros(1, 50).double()]), origin=True))
    assert bool(with_zero.isfinite().all())


def test_where_all_are_twins_nobody_counts_and_a_lone_client_does() -> None:
    assert foolsgold(torch.ones(4, 3)).tolist() == [0.0] * 3
    assert foolsgold(torch.ones(1, 3)).tolist() == [1.0] * 3
    assert foolsgold(torch.eye(2)).tolist() == [0.5, 0.5]  # the paper's sum would be (1, 1)


@given(st.integers(0, 99))
def test_it_scales_with_the_messages_and_does_not_see_their_order(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    messages, order = torch.randn(8, 20, generator=generator).double(), torch.randperm(8, generator=generator)
    torch.testing.assert_close(foolsgold(messages[order]), foolsgold(messages))
    torch.testing.assert_close(foolsgold(3 * messages), 3 * foolsgold(messages))


def test_kappa_out_of_range_is_refused(make_setting: Callable[..., Setting]) -> None:
    with pytest.raises(ValueError, match="kappa is 0"):
        foolsgold(torch.ones(3, 2), kappa=0)
    assert FoolsGold().tolerates(0.9, make_setting())


# -------------------------------------------------------------------------------------------------------- with memory


@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_with_memory_clients_are_compared_by_all_that_they_ever_sent(
    participation: float, make_federation: Callable[..., Federation]
) -> None:
    """As in the authors' `ML_main.py`, where this round's update is in the sum; rows are added up name by name."""
    found = make_federation(FoolsGold(memory=True), SignFlip(), 0.2, dtype="float64", participation=participation)
    sums, differs = np.zeros((20, found.model.dim)), 0.0
    for transcript in found.rounds():
        sent = transcript.messages.numpy()
        for name, row in zip(transcript.participants.tolist(), sent, strict=True):
            sums[name] += row
        weights = by_definition(torch.from_numpy(sums[transcript.participants.numpy()]))
        change = found.global_model - transcript.broadcast
        np.testing.assert_allclose(change.numpy(), np.array(weights) @ sent, rtol=0, atol=1e-9)
        differs = max(differs, float((change - foolsgold(transcript.messages)).norm()))
    assert differs > 1e-3


def test_sybils_that_hide_in_a_round_show_over_many(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    """Their goal is half as long as the noise that they add: it is lost in a round, and adds up over a hundred."""
    generator = torch.Generator().manual_seed(0)
    means = torch.randn(12, 300, generator=generator, dtype=torch.float64)
    means[:4] = torch.randn(300, generator=generator, dtype=torch.float64)
    server = server_round(make_setting(num_clients=12, participants=12, dim=300), torch.zeros(300).double(), 12)
    for _ in range(100):
        messages = means + 2 * torch.randn(12, 300, generator=generator, dtype=torch.float64)
        FoolsGold(memory=True).aggregate(Delivered(messages, torch.arange(12)), server)
    alone, history = (foolsgold_weights(gram_matrix(rows, origin=True)) for rows in (messages, server.memory["sums"]))
    assert float(history[:4].sum()) == 0.0
    assert float(alone[:4].sum()) > 0.1


def test_an_attacker_cannot_make_the_history_infinite(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    messages = torch.randn(4, 7, generator=torch.Generator().manual_seed(0))
    messages[0] = 3e38
    server = server_round(make_setting(num_clients=4, participants=4), torch.zeros(7), 4)
    for _ in range(3):
        model = FoolsGold(memory=True).aggregate(Delivered(messages, torch.arange(4)), server)
    assert bool(server.memory["sums"].isfinite().all())
    assert bool(model.isfinite().all())


def test_same_seed_same_history(make_federation: Callable[..., Federation]) -> None:
    def play() -> list[RoundTranscript]:
        return list(make_federation(FoolsGold(memory=True), participation=0.5).rounds())

    assert all(torch.equal(a.broadcast, b.broadcast) for a, b in zip(play(), play(), strict=True))


def test_messages_that_nobody_sent_have_no_history(
    server_round: Callable[..., ServerRound], make_setting: Callable[..., Setting]
) -> None:
    unlinked = replace(server_round(make_setting(), torch.ones(7), 3), clients=None)
    with pytest.raises(ValueError, match="nothing says whose message is whose"):
        FoolsGold(memory=True).aggregate(Delivered(torch.ones(3, 7), None), unlinked)
    with pytest.raises(ValueError, match="a mixed message is nobody's"):
        NNM(rule="foolsgold", parameters={"memory": True})
    assert NNM(rule="foolsgold").parameters == {"kappa": 1.0}


def test_a_history_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"history is \(2, 2\), but must be of shape \(3, 2\)"):
        foolsgold(torch.ones(3, 2), history=torch.ones(2, 2))
