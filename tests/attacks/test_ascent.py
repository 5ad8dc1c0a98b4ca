"""Gradient ascent: up the loss of what is asked about, by autograd; as long as the own update; without a question."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from attacks.ascent import Ascent, ascent
from bench import models
from bench.attacking.membership import mean_gradient
from bench.protocol import Alphabet, Setting
from bench.threat import Asked, ByzantineView

IMAGES, SHAPE, CLASSES = 6, (1, 2, 3), 4


def asked() -> Asked:
    random = torch.Generator().manual_seed(3)
    model = models.build("softmax", SHAPE, CLASSES)
    x = torch.randn(IMAGES, *SHAPE, generator=random, dtype=torch.float64)
    return Asked(model, x, torch.randint(CLASSES, (IMAGES,), generator=random))


def view(question: Asked | None, own: Tensor, alphabet: Alphabet = Alphabet.REAL) -> ByzantineView:
    d = own.shape[1]
    broadcast = torch.randn(d, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    draws = torch.Generator().manual_seed(0)
    setting = Setting(10, 10, d, 5, 0.1, None, 0.3, 1e-6)
    return ByzantineView(own, None, broadcast, alphabet, draws, setting, {}, updates=own, asked=question)


def own_updates(question: Asked, rows: int = 3) -> Tensor:
    random = torch.Generator().manual_seed(1)
    return torch.randn(rows, question.model.dim, generator=random, dtype=torch.float64)


def test_the_gradient_is_that_of_autograd() -> None:
    question = asked()
    broadcast = torch.randn(question.model.dim, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    given = broadcast.clone().requires_grad_()
    F.cross_entropy(question.model.logits(given, question.x), question.y).backward()
    assert given.grad is not None
    torch.testing.assert_close(mean_gradient(question, broadcast), given.grad)


@pytest.mark.parametrize("c", [0.5, 2.0])
def test_each_message_is_as_long_as_its_sender_s_update_and_raises_the_loss(c: float) -> None:
    question = asked()
    own = own_updates(question)
    see = view(question, own)
    forged = Ascent(c=c).forge(see)
    torch.testing.assert_close(forged.norm(dim=1), c * own.norm(dim=1))
    assert float(F.cosine_similarity(forged, mean_gradient(question, see.broadcast).unsqueeze(0)).min()) > 1 - 1e-12

    def loss(model: Tensor) -> Tensor:
        return F.cross_entropy(question.model.logits(model, question.x), question.y)

    assert loss(see.broadcast + 1e-3 * forged[0]) > loss(see.broadcast)


def test_a_vote_is_against_the_update_that_it_wants() -> None:
    question = asked()
    see = view(question, own_updates(question), Alphabet.TERNARY)
    expected = torch.sign(-mean_gradient(question, see.broadcast)).to(torch.int8)
    assert all(torch.equal(row, expected) for row in Ascent().forge(see))


def test_where_nobody_asks_the_own_update_is_turned_round() -> None:
    own = own_updates(asked())
    assert torch.equal(Ascent(c=2.0).forge(view(None, own)), -2.0 * own)


def test_who_learnt_nothing_sends_nothing_and_no_gradient_is_no_direction() -> None:
    own = torch.zeros(2, 5)
    own[1] = 1.0
    assert ascent(torch.ones(5), own)[0].abs().sum() == 0
    assert torch.equal(ascent(torch.zeros(5), own), torch.zeros(2, 5))


def test_what_is_no_step_is_refused() -> None:
    with pytest.raises(ValueError, match="gradient is"):
        ascent(torch.ones(4), torch.ones(2, 5))
    with pytest.raises(ValueError, match="c is 0"):
        ascent(torch.ones(5), torch.ones(2, 5), c=0.0)
