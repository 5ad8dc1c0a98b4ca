"""A3FL: the trigger's slope by differences, the adversarial model by hand, what is planted, and that it works."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from attacks.a3fl import A3FL, with_trigger
from bench.attacking.poisoning import DataFacts
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models.base import one_hot
from bench.threat import OwnTraining
from defenses.fedavg import FedAvg

ATTACK = A3FL(size=3, corner=1)


def federation(data: Dataset, attack: A3FL = ATTACK, **changes: Any) -> Federation:
    shape = {"dataset": "digits", "clients": 10, "rounds": 4, "local_steps": 2, "batch_size": 8, "lr": 0.2}
    settings = FederationSettings.model_validate({**shape, "model": "mlp", "dtype": "float64", **changes})
    return Federation(settings, FedAvg(), data, 0, attack, 0.3)


def own(fed: Federation) -> OwnTraining:
    return fed._training(fed.is_byzantine.nonzero()[:, 0])


def test_the_trigger_lies_off_the_corner() -> None:
    shown = with_trigger(torch.zeros(2, 1, 8, 8), torch.ones(1, 3, 3), 2)
    assert torch.equal(shown[:, :, 2:5, 2:5], torch.ones(2, 1, 3, 3))
    assert float(shown.sum()) == 18
    with pytest.raises(ValueError, match="size is 7, but must be between 1 and 6"):
        with_trigger(torch.zeros(1, 1, 8, 8), torch.ones(1, 7, 7), 2)


def test_the_slope_is_that_of_the_weighted_losses(digits: Dataset) -> None:
    """Against central differences in float64, entry by entry."""
    fed, random = federation(digits), torch.Generator().manual_seed(0)
    training, x = own(fed), digits.test.x[:5].double()
    other = fed.global_model + 0.1 * torch.randn(fed.model.dim, generator=random, dtype=torch.float64)
    trigger = torch.rand(1, 3, 3, generator=random, dtype=torch.float64)
    at = [(fed.global_model, 1.0), (other, 0.4)]

    def loss(trigger: torch.Tensor) -> float:
        wanted = torch.full((5,), 2)
        shown = with_trigger(x, trigger, 1)
        return sum(weight * float(F.cross_entropy(fed.model.logits(model, shown), wanted)) for model, weight in at)

    slope = ATTACK.slope(training.model, at, x, trigger)
    for place in range(9):
        step = torch.zeros(9, dtype=torch.float64)
        step[place] = 1e-6
        difference = loss(trigger + step.view(1, 3, 3)) - loss(trigger - step.view(1, 3, 3))
        assert float(slope.flatten()[place]) == pytest.approx(difference / 2e-6, rel=1e-4, abs=1e-9)


def test_the_adversarial_model_unlearns_the_trigger(digits: Dataset) -> None:
    """Five steps of SGD by autograd on triggered images with their true labels."""
    fed = federation(digits)
    training, trigger = own(fed), torch.ones(1, 3, 3, dtype=torch.float64)
    x, targets = digits.train.x[:12].double(), one_hot(digits.train.y[:12], 10, torch.float64)
    model = fed.global_model.clone()
    for _ in range(5):
        model = model.detach().requires_grad_()
        loss = F.cross_entropy(fed.model.logits(model, with_trigger(x, trigger, 1)), targets)
        model = model - 0.2 * torch.autograd.grad(loss, model)[0]
    found = ATTACK.unlearned(training, fed.global_model, iter([(x, targets)] * 5), trigger)
    torch.testing.assert_close(found, model.detach())


def test_the_search_lowers_the_loss_of_the_target_and_stays_in_the_range_of_pixels(digits: Dataset) -> None:
    fed = federation(digits)
    training = own(fed)
    grey = (training.black + training.white).expand(-1, 3, 3) / 2
    found = A3FL(size=3, corner=1, searches=40, rate=0.5).searched(training, fed.global_model, grey)
    assert bool((found >= training.black).all())
    assert bool((found <= training.white).all())
    x, wanted = digits.test.x.double(), torch.full((len(digits.test.x),), 2)
    before, after = (
        float(F.cross_entropy(fed.model.logits(fed.global_model, with_trigger(x, one, 1)), wanted))
        for one in (grey, found)
    )
    assert after < before


def test_it_works_and_is_measured_with_the_trigger_that_was_found(digits: Dataset) -> None:
    fed = federation(digits, A3FL(size=2, corner=0), rounds=30, dtype="float32")
    grey = fed.goal(digits.test)
    for _ in range(30):
        fed.advance()
    goal = fed.goal(digits.test)
    assert grey is not None
    assert goal is not None
    assert not torch.equal(grey.x, goal.x)
    assert torch.equal(goal.x[0, :, :2, :2], fed._memory["trigger"].float())
    assert torch.equal(A3FL(size=2, corner=0).goal(digits.test, DataFacts.of(digits)).x, grey.x)
    answers = fed.model.logits(fed.global_model, goal.x).argmax(dim=1)
    assert float((answers == 2).double().mean()) > 0.6
