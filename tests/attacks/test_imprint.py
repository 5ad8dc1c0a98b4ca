"""Imprint: exact where an image is alone, through a sum too; its quantiles; what it cannot read."""

import math
from dataclasses import replace

import pytest
import torch

from attacks.analytic import Analytic
from attacks.imprint import Imprint, thresholds
from bench import registry
from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.inversion import Watched, reconstruct, watch
from bench.plays.metrics import image_metrics, matched
from bench.threat import PrivacyAttack

TARGETS, CLIENTS = 3, 10


def watched(defense: str, attack: PrivacyAttack, batch: int, model: str = "mlp", rounds: int = 2) -> Watched:
    settings = FederationSettings(
        dataset="digits",
        model=model,
        clients=CLIENTS,
        samples_per_client=batch,
        batch_size=batch,
        rounds=rounds,
        local_steps=1,
        lr=0.1,
        dtype="float64",
    )
    digits = load("digits")
    return watch(Federation(settings, registry.get("defense", defense)(), digits, 0), digits, attack, TARGETS)


def recovered(defense: str, attack: PrivacyAttack, batch: int) -> float:
    """The share of the targets' images that are recovered at 20 dB."""
    found, digits = watched(defense, attack, batch), load("digits")
    images = matched(reconstruct(attack, found.view, 0).images, found.truth, digits).flatten(0, 1)
    return float((image_metrics(images, found.truth.flatten(0, 1), digits)["psnr"] >= 20).double().mean())


def test_an_image_alone_between_two_thresholds_is_read_exactly() -> None:
    found, digits = watched("fedavg", Imprint(), batch=1, rounds=1), load("digits")
    images = matched(reconstruct(Imprint(), found.view, 0).images, found.truth, digits)
    torch.testing.assert_close(images, found.truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_of_a_batch_nearly_all_is_read(batch: int) -> None:
    assert recovered("fedavg", Imprint(), batch) >= 0.9


def test_a_sum_over_clients_hides_nobody_from_a_server_that_deviates() -> None:
    """Of 40 images and 200 thresholds 82 % lie alone in a round, and nearly all in one of two rounds."""
    assert recovered("secure_aggregation", Analytic(), batch=4) <= 0.1
    assert recovered("secure_aggregation", Imprint(), batch=4) >= 0.7


def test_clients_train_on_what_the_server_sends(digits: Dataset) -> None:
    honest, deviating = watched("fedavg", Analytic(), 1).view, watched("fedavg", Imprint(), 1).view
    assert torch.equal(watched("fedavg", Imprint(), 1).view.rounds[1].broadcast, deviating.rounds[1].broadcast)
    assert not torch.equal(honest.rounds[0].broadcast, deviating.rounds[0].broadcast)
    first = honest.facts.model.split(deviating.rounds[0].broadcast)[0]
    assert bool((first == first[0]).all())  # all units ask the same
    second_round = honest.facts.model.split(deviating.rounds[1].broadcast)[0]
    assert not torch.equal(first, second_round)  # and another thing in the next round


def test_as_many_images_lie_alone_as_the_quantiles_promise() -> None:
    """n images of independent normal pixels: n (1 - 1 / r)^(n - 1) alone; the test fails by luck once in 10,000."""
    generator, units, count, repeats = torch.Generator().manual_seed(5), 50, 30, 400
    w = torch.randn(64, generator=generator, dtype=torch.float64)
    w /= w.norm()
    bins = thresholds(w, torch.zeros(1, 8, 8, dtype=torch.float64), units)
    assert bool((bins.diff() > 0).all())
    found = []
    for _ in range(repeats):
        asked = torch.randn(count, 64, generator=generator, dtype=torch.float64) @ w
        counts = torch.bucketize(asked, bins).bincount(minlength=units + 1)
        found.append(float((counts == 1).sum()))
    expected = count * (1 - 1 / units) ** (count - 1)
    error = float(torch.tensor(found).std()) / math.sqrt(repeats)
    assert abs(sum(found) / repeats - expected) < 3.9 * error


def test_of_signs_it_sees_what_the_analytic_attack_sees() -> None:
    found = watched("sign_majority", Imprint(), 1)
    draws = torch.Generator().manual_seed(0)
    ours, theirs = Imprint().infer(found.view, draws), Analytic().infer(found.view, draws)
    assert torch.equal(ours.images, theirs.images)


def test_zeros_show_the_mean_image_and_nothing_else() -> None:
    view = watched("fedavg", Imprint(), 2).view
    zeros = [replace(seen, estimate=torch.zeros_like(seen.estimate)) for seen in view.rounds]
    images = Imprint().infer(replace(view, rounds=tuple(zeros)), torch.Generator()).images
    assert torch.equal(images, view.mean_image.expand_as(images))


@pytest.mark.parametrize("model", ["softmax", "lenet"])
def test_a_model_without_such_layers_is_refused(model: str) -> None:
    with pytest.raises(ValueError, match="one like mlp"):
        watched("fedavg", Imprint(), 1, model)
