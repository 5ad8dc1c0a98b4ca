"""Defenses that must train the same model: NISS and FedAvg, RSA and DPBFL, DPBFL and LDPBFL, FedAvg and descent."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from attacks.gaussian import Gaussian
from attacks.sign_flip import SignFlip
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.threat import ByzantineAttack
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.krum import Krum
from defenses.ldpbfl import LDPBFL
from defenses.niss import NISS
from defenses.rsa import RSA

Make = Callable[..., Federation]
Play = Callable[[Federation], Tensor]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-4), ("float64", 1e-12)])
@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_niss_without_scaling_trains_fedavgs_model(
    dtype: str, tolerance: float, participation: float, make_federation: Make, final_model: Play
) -> None:
    """X = 0 is FedAvg, whatever sigma_k (errata N13), as long as nothing is clipped; N18 for the float error."""
    given = {"dtype": dtype, "participation": participation}
    plain = make_federation(FedAvg(), **given)
    noisy = make_federation(NISS(zeta=20.0, num_shares=4), **given)
    norms = [played.updates.norm(dim=1).max() for played in plain.rounds()]
    assert max(norms) < 20
    found = final_model(noisy)
    torch.testing.assert_close(found, plain.global_model, rtol=0, atol=tolerance)
    assert float(found.abs().max()) > 0.05  # something was learnt
    assert noisy.defense.sigma(noisy.setting) > 0.5  # type: ignore[attr-defined]


def test_niss_with_scaling_does_not(make_federation: Make, final_model: Play) -> None:
    plain = final_model(make_federation(FedAvg()))
    noisy = final_model(make_federation(NISS(zeta=20.0, num_shares=4, tau_squared=0.3)))
    assert float((noisy - plain).abs().max()) > 0.1


@pytest.mark.parametrize("seed", [0, 1])
def test_dpbfl_without_randomness_is_rsa(seed: int, make_federation: Make, final_model: Play) -> None:
    signs = make_federation(DPBFL(gamma=0.0, penalty=0.05), seed=seed)
    models = make_federation(RSA(penalty=0.05), seed=seed)
    found = final_model(signs)
    assert torch.equal(found, final_model(models))
    assert torch.equal(signs.kept, models.kept)
    assert float(found.abs().max()) > 0.001


@pytest.mark.parametrize("attack", [None, SignFlip(), Gaussian()], ids=["no attack", "sign flip", "gaussian"])
def test_the_shuffler_changes_no_model(
    attack: ByzantineAttack | None, make_federation: Make, final_model: Play
) -> None:
    """LDPBFL and DPBFL draw the same noise from a seed; a permutation changes no sum."""
    shuffled = final_model(make_federation(DPBFL(gamma=0.4), attack, 0.3))
    linked = final_model(make_federation(LDPBFL(gamma=0.4), attack, 0.3))
    assert torch.equal(shuffled, linked)
    assert not torch.equal(shuffled, final_model(make_federation(DPBFL(gamma=0.0), attack, 0.3)))


def test_one_full_batch_epoch_is_gradient_descent_on_the_pooled_data(make_federation: Make, digits: Dataset) -> None:
    """Equal shards and one step each: the mean of the local steps is a step on the mean gradient (by autograd)."""
    federation = make_federation(FedAvg(), local_steps=None, local_epochs=1, batch_size=1000, dtype="float64", lr=0.5)
    rows = federation.shards.indices.flatten()
    x, y = digits.train.x[rows].flatten(1).double(), digits.train.y[rows]
    weight = torch.zeros(10, 64, dtype=torch.float64, requires_grad=True)
    bias = torch.zeros(10, dtype=torch.float64, requires_grad=True)
    for _ in federation.rounds():
        loss = cross_entropy(x @ weight.T + bias, y)
        gradients = torch.autograd.grad(loss, (weight, bias))
        with torch.no_grad():
            weight -= 0.5 * gradients[0]
            bias -= 0.5 * gradients[1]
        pooled = torch.cat([weight.detach().flatten(), bias.detach()])
        torch.testing.assert_close(federation.global_model, pooled, rtol=0, atol=1e-12)
    assert float(bias.detach().abs().max()) > 1e-3


def test_multi_krum_of_everybody_is_fedavg(make_federation: Make, final_model: Play) -> None:
    everybody = final_model(make_federation(Krum(num_selected=20), dtype="float64"))
    torch.testing.assert_close(everybody, final_model(make_federation(FedAvg(), dtype="float64")), rtol=0, atol=1e-12)
