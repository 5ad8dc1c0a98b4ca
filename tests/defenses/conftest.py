"""Builders that the tests of the defenses share: settings, server rounds, small federations, an exact variance test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from bench.data import Dataset, load
from bench.federation import Federation
from bench.protocol import Defense, ServerRound, Setting
from bench.settings import FederationSettings
from bench.threat import ByzantineAttack


@pytest.fixture(scope="session")
def make_setting() -> Callable[..., Setting]:
    def make(**given: Any) -> Setting:
        facts = {"num_clients": 20, "participants": 20, "dim": 7, "rounds": 5, "lr": 0.1, "lr_decay": None}
        return Setting(**{**facts, "assumed_byzantine": 0.2, "delta": 1e-6, **given})

    return make


@pytest.fixture(scope="session")
def server_round() -> Callable[..., ServerRound]:
    def make(setting: Setting, global_model: Tensor, num_rows: int, index: int = 0) -> ServerRound:
        weights = torch.full((num_rows,), 1 / setting.participants, dtype=global_model.dtype)
        return ServerRound(index, setting, global_model, weights, torch.Generator().manual_seed(0))

    return make


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def make_federation(digits: Dataset) -> Callable[..., Federation]:
    """20 clients and 5 rounds on the embedded digits, softmax regression, unless told otherwise."""

    def make(
        defense: Defense, attack: ByzantineAttack | None = None, byzantine: float = 0.0, seed: int = 0, **given: Any
    ) -> Federation:
        settings = {"dataset": "digits", "clients": 20, "rounds": 5, "local_steps": 2, "batch_size": 16, "lr": 0.1}
        return Federation(FederationSettings(**{**settings, **given}), defense, digits, seed, attack, byzantine)

    return make


@pytest.fixture(scope="session")
def final_model() -> Callable[[Federation], Tensor]:
    def play(federation: Federation) -> Tensor:
        for _ in federation.rounds():
            pass
        return federation.global_model

    return play


@pytest.fixture(scope="session")
def has_variance() -> Callable[[Tensor, float], bool]:
    """Whether independent Gaussian samples of mean 0 may have this variance; exact, wrong once in 10^9 true cases."""

    def check(samples: Tensor, variance: float) -> bool:
        low, high = chi2.ppf([5e-10, 1 - 5e-10], samples.numel())
        return bool(low < float(samples.double().square().sum()) / variance < high)

    return check
