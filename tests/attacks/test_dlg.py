"""DLG on federations of few digits a client: what it must recover, what it must not, and that it can be repeated."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from attacks.collusion import Collusion
from attacks.dlg import DLG
from bench.models.base import Model
from bench.models.dense import MLP
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg
from defenses.niss import NISS
from tests.cases import slow

Invert = Callable[..., Any]


@pytest.mark.parametrize(
    ("model", "label"),
    [("softmax", "joint"), ("softmax", "inferred"), ("lenet", "joint"), slow("lenet", "inferred"), ("mlp", "inferred")],
)
def test_an_undefended_update_shows_the_image(model: str, label: Any, invert: Invert) -> None:
    """PSNR above 20 dB for 3 of 4 targets; one gradient of one sample."""
    result = invert(FedAvg(), DLG(label=label), model)
    assert int((result.psnr > 20).sum()) >= 3
    assert bool(result.label_recovered.all())
    assert result.found.images.shape == (4, 1, 1, 8, 8)
    assert result.found.labels.shape == (4, 1)


@pytest.mark.parametrize("label", ["joint", "inferred"])
@pytest.mark.parametrize(("batch", "steps"), [slow(1, 3), slow(2, 1), (4, 1), (2, 2)])
def test_an_undefended_update_of_a_batch_shows_all_of_it(batch: int, steps: int, label: Any, invert: Invert) -> None:
    """PSNR above 20 dB for 3 of 4 images, whatever their order; also after several local steps on them."""
    result = invert(FedAvg(), DLG(label=label), "lenet", batch=batch, local_steps=steps)
    assert result.found.images.shape == (4, batch, 1, 8, 8)
    assert float((result.psnr > 20).double().mean()) >= 0.75
    assert bool(result.label_recovered.all())


def test_several_local_steps_are_simulated_and_not_taken_for_one(invert: Invert) -> None:
    """Ten long steps: the sum of their gradients is far from ten times the first one, and is matched nevertheless."""
    result = invert(FedAvg(), DLG(), "lenet", local_steps=10, lr=0.5)
    assert float(result.found.loss.max()) < 1e-4 * result.found.trace[0]
    assert int((result.psnr > 20).sum()) >= 3


@pytest.mark.parametrize("label", ["joint", "inferred"])
@pytest.mark.parametrize("model", ["softmax", "lenet"])
def test_default_noise_hides_the_image(model: str, label: Any, invert: Invert) -> None:
    """A uniformly random guess has about 6 dB; sigma_k / (p_k lr) = 27 on the gradient (errata N19)."""
    result = invert(DPFedAvg(), DLG(label=label), model)
    assert float(result.psnr.max()) < 10
    assert float(result.found.loss.min()) > 1000  # the noise has its floor in the loss (errata N20)


def test_clipping_alone_hides_nothing(invert: Invert) -> None:
    """Updates of norm 0.6 to 1 are clipped to 0.05; epsilon = 10^9 leaves next to no noise."""
    result = invert(DPFedAvg(zeta=0.05, epsilon=1e9), DLG(), "softmax")
    assert int((result.psnr > 20).sum()) >= 3


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("zeta", [slow(1e-2), slow(1e-4), 1e-6, slow(1e-12)])
def test_a_small_gradient_shows_as_much_as_a_large_one(zeta: float, dtype: str, invert: Invert) -> None:
    """At 1e-4 the stops in the loss's own units took hold, and at 1e-6 there was no first step: 6.8 dB."""
    result = invert(DPFedAvg(zeta=zeta, epsilon=1e12), DLG(), "mlp", dtype=dtype)
    assert int((result.psnr > 40).sum()) >= 3
    assert float(result.found.loss.median()) < 1e-6 * (zeta / 0.1) ** 2  # of the squared gradient, at a rate of 0.1


@pytest.mark.parametrize(
    "scale", [1e-12, slow(2.0**-40), slow(1e-5), slow(2.0**-3), slow(2.0**20), slow(1e12), 2.0**40]
)
def test_the_scale_of_the_gradient_is_of_no_account(
    scale: float, invert: Invert, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where all gradients are `scale` times as large, the picture is the same, and bit for bit at powers of 2."""
    usual = invert(FedAvg(), DLG(starts=2), "mlp", dtype="float64")
    gradients = MLP.gradients
    monkeypatch.setattr(MLP, "gradients", lambda self, *given: scale * gradients(self, *given))
    monkeypatch.setattr(MLP, "update", Model.update)
    found = invert(FedAvg(), DLG(starts=2), "mlp", dtype="float64")
    assert float(found.psnr.min()) > 40
    if math.frexp(scale)[0] == 0.5:
        assert torch.equal(found.found.images, usual.found.images)
        assert torch.equal(found.found.loss, scale**2 * usual.found.loss)


@pytest.mark.parametrize("zeta", [1e-3, 1e-9])
def test_the_labels_of_a_small_gradient_are_counted_as_those_of_a_large_one(zeta: float, invert: Invert) -> None:
    """Of a batch under clipping; below 1e-7 a floor under the gradient's negative part made one of each class."""
    large = invert(DPFedAvg(zeta=1e-1, epsilon=1e12), DLG(starts=1, evaluations=2), "lenet", batch=8)
    small = invert(DPFedAvg(zeta=zeta, epsilon=1e12), DLG(starts=1, evaluations=2), "lenet", batch=8)
    assert torch.equal(small.found.labels, large.found.labels)


def test_niss_hides_it_from_a_server_without_friends(invert: Invert) -> None:
    assert float(invert(NISS(num_shares=3), DLG(), "softmax").psnr.max()) < 10


def test_a_server_alone_colludes_with_nobody(invert: Invert) -> None:
    alone, passive = invert(FedAvg(), Collusion(rho=0.0), "softmax"), invert(FedAvg(), DLG(), "softmax")
    assert DLG().collusion() == 0
    assert torch.equal(alone.found.images, passive.found.images)


@pytest.mark.parametrize("label", ["joint", "inferred"])
def test_the_generator_alone_decides(label: Any, invert: Invert) -> None:
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first, again = (invert(FedAvg(), DLG(label=label, evaluations=30), "lenet") for _ in range(2))
    other = invert(FedAvg(), DLG(label=label, evaluations=30), "lenet", seed=1)
    assert torch.equal(first.found.images, again.found.images)
    assert torch.equal(first.found.loss, again.found.loss)
    assert first.found.trace == again.found.trace
    assert not torch.equal(first.found.images, other.found.images)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_kept_start_is_the_best_one(invert: Invert) -> None:
    few, many = (invert(FedAvg(), DLG(starts=starts, evaluations=15, matched=1e-30), "lenet") for starts in (1, 3))
    assert bool((many.found.loss <= few.found.loss).all())
    assert bool((many.found.loss < few.found.loss).any())
    assert len(many.found.trace) > len(few.found.trace)


def test_no_target_is_left_behind(invert: Invert) -> None:
    """Every loss falls to a small share of the first guess's median: no row stops because another one has."""
    result = invert(FedAvg(), DLG(), "lenet")
    assert float(result.found.loss.max()) < 1e-4 * result.found.trace[0]


def test_starts_that_agree_are_the_last_ones(invert: Invert) -> None:
    """Under noise every start ends at the noise's floor; a third one is run only where two must be exactly alike."""
    two, many, exact = (
        invert(DPFedAvg(), DLG(starts=starts, agreement=agreement, evaluations=40), "lenet").found
        for starts, agreement in ((2, 0.01), (5, 0.01), (5, 0.0))
    )
    assert two.trace == many.trace
    assert torch.equal(two.images, many.images)
    assert len(exact.trace) > len(many.trace)


def test_one_start_is_never_taken_for_two(invert: Invert) -> None:
    """However wide the agreement, what has not matched is started a second time."""
    one, more = (invert(FedAvg(), DLG(starts=s, agreement=1e9, evaluations=5), "lenet").found for s in (1, 2))
    assert len(more.trace) > len(one.trace)


@pytest.mark.slow
@pytest.mark.data
def test_an_undefended_update_shows_a_picture(pictures: Callable[..., Any]) -> None:
    """32 x 32 x 3 pixels of the CIFAR-100 sample: PSNR above 20 dB for at least half of 8 targets."""
    result = pictures(DLG(evaluations=1200))
    assert bool(result.label_recovered.all())
    assert int((result.psnr > 20).sum()) >= 4
