"""The server's optimizers, against torch's own; and where in a round they act."""

from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.adaptive import Adaptive
from bench import registry
from bench.base.rng import generator
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.server_optimizers import ServerOptimizer, yogi_second
from bench.federation.settings import FederationSettings
from bench.threat import ByzantineAttack

LR, BETA, BETA2, TAU = 0.3, 0.8, 0.95, 1e-2
ROUNDS = 6


def changes() -> Tensor:
    """`(rounds, d)`, some coordinates without any change."""
    found = torch.randn(ROUNDS, 5, generator=generator(3), dtype=torch.float64)
    found[:, 2] = 0
    return found


def ours(name: str, beta: float = BETA) -> list[Tensor]:
    """The model after each round, from 0."""
    optimizer, model, models = ServerOptimizer(name, LR, beta, BETA2, TAU), torch.zeros(5, dtype=torch.float64), []
    for change in changes():
        model = model + optimizer.step(change)
        models.append(model)
    return models


def torchs(optimizer: torch.optim.Optimizer, params: Tensor, prepare: Any = lambda index: None) -> list[Tensor]:
    models = []
    for index, change in enumerate(changes()):
        params.grad = -change
        prepare(index)
        optimizer.step()
        models.append(params.detach().clone())
    return models


def test_momentum_is_torchs_sgd() -> None:
    params = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    expected = torchs(torch.optim.SGD([params], lr=LR, momentum=BETA), params)
    for found, wanted in zip(ours("momentum"), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


def test_adam_is_torchs_without_its_correction_of_the_bias() -> None:
    """Torch's learning rate and epsilon are set, round by round, to what takes the correction back."""
    params = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([params], lr=LR, betas=(BETA, BETA2))
    start = {"exp_avg": torch.zeros_like(params), "exp_avg_sq": torch.full_like(params, TAU**2)}
    optimizer.state[params] = {"step": torch.tensor(0.0), **{name: one.detach() for name, one in start.items()}}

    def uncorrected(index: int) -> None:
        first, second = 1 - BETA ** (index + 1), (1 - BETA2 ** (index + 1)) ** 0.5
        optimizer.param_groups[0].update(lr=LR * first / second, eps=TAU / second)

    for found, wanted in zip(ours("adam"), torchs(optimizer, params, uncorrected), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-12)


def test_adagrad_without_momentum_is_torchs() -> None:
    params = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adagrad([params], lr=LR, initial_accumulator_value=TAU**2, eps=TAU)
    for found, wanted in zip(ours("adagrad", beta=0.0), torchs(optimizer, params), strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=1e-14)


def test_yogi_moves_v_towards_the_squares_by_no_more_than_they_are() -> None:
    """From v = 4: squares above it are added, below it taken off, a twentieth of them each; 0 changes nothing."""
    v, squares = torch.full((4,), 4.0), torch.tensor([10.0, 1.0, 4.0, 0.0])
    torch.testing.assert_close(yogi_second(v, squares, 0.95), torch.tensor([4.5, 3.95, 4.0, 4.0]))
    assert not torch.allclose(ours("yogi")[-1], ours("adam")[-1])


# -------------------------------------------------------------------------------------------------------- in a round


def federation(defense: str = "fedavg", attack: ByzantineAttack | None = None, **given: Any) -> Federation:
    settings = FederationSettings(
        dataset="digits", clients=8, samples_per_client=12, rounds=4, local_steps=2, batch_size=5, lr=0.1, **given
    )
    return Federation(settings, registry.get("defense", defense)(), load("digits"), 0, attack, 0.25 if attack else 0.0)


MOMENTUM = {"server_optimizer": "momentum", "server_lr": LR, "server_momentum": BETA}
ADAM = {**MOMENTUM, "server_optimizer": "adam", "server_beta2": BETA2, "server_tau": TAU}


@pytest.mark.parametrize("messages", ["as_needed", "always"])
@pytest.mark.parametrize("given", [MOMENTUM, ADAM], ids=["momentum", "adam"])
@pytest.mark.parametrize("defense", ["fedavg", "median"])
def test_the_optimizer_follows_what_the_defense_would_do(defense: str, given: dict[str, Any], messages: str) -> None:
    found, plain = federation(defense, messages=messages, **given), federation(defense, messages=messages)
    expected = ServerOptimizer(given["server_optimizer"], LR, BETA, BETA2, TAU)
    for _ in range(4):
        before = found.global_model
        plain.global_model = before
        plain.advance()
        found.advance()
        step = expected.step(plain.global_model - before)
        torch.testing.assert_close(found.global_model, before + step, rtol=0, atol=1e-6)
        assert not torch.allclose(found.global_model, plain.global_model, atol=1e-4)


def test_what_an_attacker_imagines_does_not_move_it() -> None:
    """An attack that plays the rule many times over: the state is that of the rounds that were."""
    attack = Adaptive(evaluations=8)
    found, plain = (federation("median", attack, **given) for given in (MOMENTUM, {}))
    expected = ServerOptimizer("momentum", LR, BETA, BETA2, TAU)
    for _ in range(3):
        before = found.global_model
        plain.global_model = before
        plain.advance()
        found.advance()
        torch.testing.assert_close(
            found.global_model, before + expected.step(plain.global_model - before), rtol=0, atol=1e-6
        )
    assert found._optimizer is not None
    assert found._optimizer.m is not None
    assert expected.m is not None
    torch.testing.assert_close(found._optimizer.m, expected.m, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["rsa", "dpbfl"])
def test_a_server_with_a_step_of_its_own_has_no_other(name: str) -> None:
    told = f"^server_optimizer is 'momentum', but must be 'none' under {name}: "
    with pytest.raises(ValueError, match=told):
        federation(name, **MOMENTUM)
