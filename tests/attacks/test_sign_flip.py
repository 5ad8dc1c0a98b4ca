"""The sign flip: -c times the update, -x in a ternary alphabet, or the whole model flipped."""

import math
from collections.abc import Callable

import pytest
import torch

from attacks.sign_flip import SignFlip, sign_flip
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Alphabet
from bench.threat import ByzantineView
from defenses.dpbfl import DPBFL
from defenses.rsa import RSA

OWN = torch.tensor([[1.0, -2.0, 0.0], [0.5, 0.0, 4.0]])


@pytest.mark.parametrize("c", [1.0, 2.0, 0.25])
def test_the_update_times_minus_c(c: float, byzantine_view: Callable[..., ByzantineView]) -> None:
    expected = torch.tensor([[-c, 2 * c, 0.0], [-0.5 * c, 0.0, -4 * c]])
    torch.testing.assert_close(sign_flip(OWN, c), expected)
    torch.testing.assert_close(SignFlip(c=c).forge(byzantine_view(OWN)), expected)


def test_c_is_2_by_default() -> None:
    assert torch.equal(sign_flip(OWN), -2 * OWN)
    assert SignFlip().c == 2.0


def test_a_mean_survives_exactly_while_b_times_one_plus_c_is_below_1() -> None:
    """Errata D22: the mean of 1 - b honest and b flipped updates is (1 - b) - c b."""
    for num_byzantine, survives in ((3, True), (4, False)):
        updates = torch.ones(10, 1)
        updates[:num_byzantine] = sign_flip(updates[:num_byzantine])
        assert (updates.mean().item() > 0) is survives


def test_votes_are_turned_round_and_stay_votes(byzantine_view: Callable[..., ByzantineView]) -> None:
    """-x_i, not scaled and not randomised (errata D14)."""
    own = torch.tensor([[1, -1, 0], [0, 1, 1]], dtype=torch.int8)
    forged = SignFlip(c=5.0).forge(byzantine_view(own, Alphabet.TERNARY))
    assert forged.dtype == torch.int8
    assert forged.tolist() == [[-1, 1, 0], [0, -1, -1]]


def test_flipping_the_model_sends_minus_c_times_the_model(byzantine_view: Callable[..., ByzantineView]) -> None:
    broadcast = torch.tensor([10.0, 20.0, 30.0])
    forged = SignFlip(c=3.0, on="model").forge(byzantine_view(OWN, broadcast=broadcast))
    torch.testing.assert_close(broadcast + forged, -3 * (broadcast + OWN))


def test_the_vote_of_a_flipped_model_is_where_that_model_lies(byzantine_view: Callable[..., ByzantineView]) -> None:
    """sign(w_0 + c w_i), errata D14: RSA takes the same sign of the model that is sent there."""
    broadcast = torch.tensor([10.0, -1.0, 0.5, 0.0])
    updates = torch.tensor([[-1.0, 2.0, -2.0, 0.0]])
    own = torch.sign(-updates).to(torch.int8)
    view = byzantine_view(own, Alphabet.TERNARY, broadcast=broadcast, updates=updates)
    forged = SignFlip(c=3.0, on="model").forge(view)
    assert forged.dtype == torch.int8
    assert forged.tolist() == [[1, 1, -1, 0]]  # 10 + 27, -1 + 3, 0.5 - 4.5, 0
    sent = broadcast + SignFlip(c=3.0, on="model").forge(byzantine_view(updates, broadcast=broadcast))
    assert torch.equal(torch.sign(broadcast - sent).to(torch.int8), forged)


@pytest.mark.parametrize("messages", ["as_needed", "always"])
def test_dpbfl_without_noise_loses_to_the_flipped_model_as_rsa_does(messages: str) -> None:
    """gamma = 0 sends sign(w_0 - w_i) itself: the same votes, the same rounds, whether summed or sent one by one."""
    settings = FederationSettings(
        dataset="digits", clients=10, samples_per_client=20, rounds=3, local_steps=1, batch_size=10, lr=0.5
    ).model_copy(update={"messages": messages})
    rules = DPBFL(gamma=0.0, penalty=0.3, kappa=0.5), RSA(penalty=0.3, kappa=0.5)
    attack, data = SignFlip(on="model"), load("digits")
    ours, theirs = (Federation(settings, rule, data, 0, byzantine=0.3, attack=attack) for rule in rules)
    flipped = Federation(settings, rules[0], data, 0, SignFlip(), 0.3)
    for _ in range(settings.rounds):
        for federation in (ours, theirs, flipped):
            federation.advance()
    torch.testing.assert_close(ours.global_model, theirs.global_model)
    assert not torch.allclose(ours.global_model, flipped.global_model)


@pytest.mark.parametrize("c", [0.0, -1.0, math.nan, math.inf])
def test_c_out_of_range_is_refused(c: float) -> None:
    with pytest.raises(ValueError, match="c is"):
        sign_flip(OWN, c)
    with pytest.raises(ValueError, match="c\n"):
        SignFlip(c=c)


def test_it_is_oblivious() -> None:
    assert not SignFlip.omniscient
