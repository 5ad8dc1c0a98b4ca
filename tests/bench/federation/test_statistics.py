"""Models with running statistics: they are sent and aggregated as parameters are."""

from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
import torch
from torch import nn

from attacks.dlg import DLG
from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.server_optimizers import ServerOptimizer
from bench.federation.settings import FederationSettings
from bench.models import ModuleModel, Shape
from bench.plays.inversion import watch
from bench.plays.metrics import accuracy_and_loss


class Normalised(ModuleModel):
    name: ClassVar[str] = "normalised"

    def build(self, input_shape: Shape, num_classes: int) -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(input_shape[0], 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(),
            nn.Linear(4 * input_shape[1] * input_shape[2], num_classes),
        )  # fmt: skip


@pytest.fixture(autouse=True)
def _known() -> Iterator[None]:
    with registry.known("model", "normalised", Normalised):
        yield


def federation(defense: str, **given: Any) -> Federation:
    settings: dict[str, Any] = {
        "dataset": "digits", "model": "normalised", "clients": 6, "samples_per_client": 20, "rounds": 8,
        "local_steps": 3, "batch_size": 10, "lr": 0.1, "assumed_byzantine": 0.1,
    }  # fmt: skip
    return Federation(
        FederationSettings(**{**settings, **given}), registry.get("defense", defense)(), load("digits"), 0
    )


@pytest.mark.parametrize("messages", ["as_needed", "always"])
def test_fedavg_averages_statistics_and_learns_with_them(messages: str) -> None:
    found = federation("fedavg", messages=messages)
    start = found.global_model
    updates = federation("fedavg").play().updates
    found.advance()
    torch.testing.assert_close(found.global_model, start + updates.mean(dim=0), rtol=0, atol=1e-6)
    for _ in range(7):
        found.advance()
    means, variances = found.global_model[found.model.num_trained :].split(4)
    assert float((variances - 1).abs().min()) > 1e-3
    assert float(means.abs().max()) > 1e-3
    assert accuracy_and_loss(found.model, found.global_model, load("digits").test)[0] > 0.5


def test_a_server_optimizer_leaves_statistics_to_the_mean() -> None:
    given = {"server_optimizer": "adam", "server_lr": 0.01}
    found, plain = federation("fedavg", **given), federation("fedavg")
    before, trained = found.global_model, found.model.num_trained
    found.advance()
    plain.advance()
    step = ServerOptimizer("adam", 0.01, 0.9, 0.99, 1e-3).step((plain.global_model - before)[:trained])
    torch.testing.assert_close(found.global_model[:trained], before[:trained] + step, rtol=0, atol=1e-6)
    torch.testing.assert_close(found.global_model[trained:], plain.global_model[trained:], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("name", "why"), [("rsa", "clients keep models"), ("sign_majority", "messages are signs")])
def test_what_cannot_carry_statistics_refuses_them(name: str, why: str) -> None:
    with pytest.raises(
        ValueError, match=f"^model is 'normalised', but must be one without .* under {name}: its {why}$"
    ):
        federation(name)


def test_inversions_refuse_them() -> None:
    with pytest.raises(ValueError, match=r"^model is 'normalised', but must be one without running statistics$"):
        watch(federation("fedavg"), load("digits"), DLG(), 2)
