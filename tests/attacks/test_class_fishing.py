"""Class fishing: a batch's gradient is that of the fished class alone; labels and single images of it are exact."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.analytic import Analytic
from attacks.class_fishing import BIAS, WEIGHT, ClassFishing, fish, fished_class
from bench.base import rng
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.models import build
from bench.models.base import Model, one_hot
from bench.plays.inversion import Watched, watch
from bench.plays.metrics import image_metrics, labels_recovered, matched
from bench.protocol import Defense
from bench.threat import PrivacyAttack
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg
from defenses.norm_clipping import NormClipping
from defenses.rsa import RSA
from defenses.secure_aggregation import SecureAggregation
from defenses.sign_majority import SignMajority

TARGETS, CLASSES = 6, 10


def play(
    digits: Dataset,
    attack: PrivacyAttack,
    batch: int,
    defense: Defense | None = None,
    model: str = "mlp",
    rounds: int = 1,
) -> Watched:
    settings = FederationSettings(
        dataset="digits",
        model=model,
        clients=8,
        samples_per_client=batch,
        batch_size=batch,
        rounds=rounds,
        local_steps=1,
        lr=0.1,
        dtype="float64",
    )
    return watch(Federation(settings, defense or FedAvg(), digits, 0), digits, attack, TARGETS)


def psnr(seen: Watched, attack: PrivacyAttack, digits: Dataset) -> Tensor:
    """Of each image `(T, B)`."""
    images = attack.infer(seen.view, rng.generator(0, "attack")).images
    shown = matched(images, seen.truth, digits).flatten(0, 1)
    return image_metrics(shown, seen.truth.flatten(0, 1), digits)["psnr"].reshape(seen.labels.shape)


def fished_model(chosen: int, seed: int) -> tuple[Model, Tensor]:
    model = build("mlp", (1, 8, 8), CLASSES)
    params = model.initial(torch.Generator().manual_seed(seed), torch.float64)
    fish(*model.split(params)[-2:], chosen)
    return model, params


# ---------------------------------------------------------------------------------------------------- the mathematics


@given(st.integers(0, 2**32), st.integers(2, 40), st.integers(0, CLASSES - 1))
def test_the_gradient_of_a_batch_is_that_of_the_fished_class_alone(seed: int, batch: int, chosen: int) -> None:
    """By torch's own derivative of the cross entropy, in all layers before the last, exactly."""
    model, params = fished_model(chosen, seed)
    draws = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, 1, 8, 8, generator=draws, dtype=torch.float64)
    y = torch.randint(CLASSES, (batch,), generator=draws)
    y[0] = chosen
    mine = y == chosen

    def gradient(images: Tensor, labels: Tensor) -> Tensor:
        at = params.clone().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model.logits(at, images), labels, reduction="sum") / batch
        return torch.autograd.grad(loss, at)[0]

    whole, alone = model.split(gradient(x, y)), model.split(gradient(x[mine], y[mine]))
    for before, caught in zip(whole[:-2], alone[:-2], strict=True):
        torch.testing.assert_close(before, caught, rtol=0, atol=1e-12)
    counts = torch.bincount(y, minlength=CLASSES).double() / batch
    expected = torch.full((CLASSES,), 1 / (CLASSES - 1)).double() - counts
    expected[chosen] = -counts[chosen]
    torch.testing.assert_close(whole[-1], expected)  # the last bias tells all labels


def test_a_class_that_the_batch_does_not_hold_moves_nothing() -> None:
    model, params = fished_model(3, seed=0)
    x = torch.randn(1, 20, 1, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = one_hot(torch.arange(20) % 3, CLASSES, torch.float64).unsqueeze(0)
    for part in model.split(model.gradients(params, x, y))[:-2]:
        assert bool((part == 0).all())


@pytest.mark.parametrize("chosen", [0, 9])
def test_the_last_layer_that_is_sent(chosen: int) -> None:
    model, params = fished_model(chosen, seed=1)
    honest = model.initial(torch.Generator().manual_seed(1), torch.float64)
    weight, bias = model.split(params)[-2:]
    assert fished_class(weight) == chosen
    assert bool((weight[chosen] == WEIGHT).all())
    assert int((weight != 0).any(dim=1).sum()) == 1
    assert int((bias == BIAS).sum()) == CLASSES - 1
    assert float(bias[chosen]) == 0
    for sent, given_ in zip(model.split(params)[:-2], model.split(honest)[:-2], strict=True):
        assert torch.equal(sent, given_)


# -------------------------------------------------------------------------------------------------------- on digits


@pytest.mark.parametrize(("batch", "classes"), [(8, range(CLASSES)), (32, (0, 5))])
def test_an_image_that_is_alone_in_its_class_comes_out_exactly(
    batch: int, classes: Sequence[int], digits: Dataset
) -> None:
    """Whatever the batch; up to 6 of a class come out as well, and what is not fished stays hidden."""
    alone, shared = [], []
    for chosen in classes:
        attack = ClassFishing(target_class=chosen)
        seen = play(digits, attack, batch)
        found, mine = psnr(seen, attack, digits), seen.labels == chosen
        single = mine & (mine.sum(dim=1, keepdim=True) == 1)
        alone += found[single].tolist()
        shared += found[mine & ~single & (mine.sum(dim=1, keepdim=True) <= 6)].tolist()
        assert float((found[~mine] > 40).double().mean()) < 0.02
    assert alone
    assert min(alone) > 80
    assert sum(value > 60 for value in shared) >= 0.9 * len(shared)


def test_an_honest_servers_view_of_so_large_a_batch_shows_less(digits: Dataset) -> None:
    attack = ClassFishing(target_class=3)
    fished, honest = play(digits, attack, 32), play(digits, Analytic(), 32)
    mine = fished.labels == 3
    assert torch.equal(mine, honest.labels == 3)
    assert float((psnr(fished, attack, digits)[mine] > 40).double().mean()) >= 0.8
    assert float((psnr(honest, Analytic(), digits)[mine] > 40).double().mean()) <= 0.2


@pytest.mark.parametrize("batch", [8, 32])
def test_labels_of_large_batches_are_exact(batch: int, digits: Dataset) -> None:
    attack = ClassFishing(target_class=0)
    seen = play(digits, attack, batch)
    assert labels_recovered(attack.infer(seen.view, torch.Generator()).labels, seen.labels) == 1


def test_each_round_fishes_a_class_and_their_catches_add_up(digits: Dataset) -> None:
    seen = play(digits, ClassFishing(), 8, rounds=3)
    model = seen.view.facts.model
    classes = {fished_class(model.split(each.broadcast)[-2]) for each in seen.view.rounds}
    assert len(classes) > 1
    mine = torch.stack([seen.labels == c for c in classes]).any(dim=0)
    assert float((psnr(seen, ClassFishing(), digits)[mine] > 40).double().mean()) >= 0.9


def test_clipping_hides_nothing_while_a_class_is_absent(digits: Dataset) -> None:
    attack = ClassFishing(target_class=3)
    seen = play(digits, attack, 8, NormClipping(bound=0.01))
    assert float((psnr(seen, attack, digits)[seen.labels == 3] > 40).double().mean()) >= 0.9


def test_behind_a_sum_a_class_has_images_of_all(digits: Dataset) -> None:
    """Of one image a client each class has few of all clients, and they are read, whosever they are."""
    attack = ClassFishing(target_class=3)
    seen = play(digits, attack, 1, SecureAggregation())
    mine = seen.labels == 3
    assert bool(mine.any())
    assert float(psnr(seen, attack, digits)[mine].min()) > 40


def test_noise_hides_the_catch(digits: Dataset) -> None:
    attack = ClassFishing(target_class=3)
    assert float((psnr(play(digits, attack, 8, DPFedAvg()), attack, digits) > 20).double().mean()) == 0


@pytest.mark.parametrize("defense", [SignMajority(), RSA()])
def test_where_no_gradient_is_left_it_sees_what_the_analytic_attack_sees(defense: Defense, digits: Dataset) -> None:
    view = play(digits, ClassFishing(target_class=3), 2, defense, rounds=2).view
    ours, theirs = (each.infer(view, torch.Generator()).images for each in (ClassFishing(), Analytic()))
    assert torch.equal(ours, theirs)


def test_zeros_show_the_mean_image_and_nothing_else(digits: Dataset) -> None:
    view = play(digits, ClassFishing(), 4).view
    zeros = tuple(replace(seen, estimate=torch.zeros_like(seen.estimate)) for seen in view.rounds)
    images = ClassFishing().infer(replace(view, rounds=zeros), torch.Generator()).images
    assert torch.equal(images, view.mean_image.expand_as(images))


@pytest.mark.parametrize("model", ["softmax", "lenet"])
def test_a_model_without_a_hidden_dense_layer_is_refused(model: str, digits: Dataset) -> None:
    with pytest.raises(ValueError, match="one of dense layers, two or more: mlp"):
        play(digits, ClassFishing(), 1, model=model)


def test_a_class_that_there_is_not_is_refused(digits: Dataset) -> None:
    with pytest.raises(ValueError, match="target_class is 10, but must be below 10, the number of classes"):
        play(digits, ClassFishing(target_class=10), 1)
    with pytest.raises(ValueError, match="target_class"):
        ClassFishing(target_class=-1)
