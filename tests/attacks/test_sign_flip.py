"""The sign flip: -c times the update, -x in a ternary alphabet, or the whole model flipped."""

import math
from collections.abc import Callable

import pytest
import torch

from attacks.sign_flip import SignFlip, sign_flip
from bench.protocol import Alphabet
from bench.threat import ByzantineView

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


@pytest.mark.parametrize("c", [0.0, -1.0, math.nan, math.inf])
def test_c_out_of_range_is_refused(c: float) -> None:
    with pytest.raises(ValueError, match="c is"):
        sign_flip(OWN, c)
    with pytest.raises(ValueError, match="c\n"):
        SignFlip(c=c)


def test_it_is_oblivious() -> None:
    assert not SignFlip.omniscient
