"""Builders that the tests of the defenses share: settings, server rounds, small federations, an exact variance test."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from scipy.stats import chi2
from torch import Tensor

from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Defense, ServerRound, Setting
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
        draws, clients = torch.Generator().manual_seed(0), torch.arange(num_rows)
        return ServerRound(index, setting, global_model, weights, draws, clients=clients)

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


@pytest.fixture(scope="session")
def make_adverse() -> Callable[..., Tensor]:
    """Rows in float32 in random order, where cancellation or overflow would show; `apart` of them unlike the rest."""

    def make(kind: str, num_rows: int, dim: int, seed: int, apart: int) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        rows, common = torch.randn(num_rows, dim, generator=generator), torch.randn(dim, generator=generator)
        match kind:
            case "clustered far from zero":
                rows = 1000 * common + 0.01 * rows
            case "two clusters":
                rows = 0.01 * rows + common
                rows[:apart] -= 3 * common
            case "duplicates":
                rows[1], rows[4] = rows[0], rows[0]
            case "many duplicates":
                rows[:apart] = rows[0].clone()
            case "silent":
                rows[:apart] = 0
            case "far-off rows":
                rows[:apart] *= 1e5
            case "far off, half of them farther":
                rows[: apart // 2] *= 1e5
                rows[apart // 2 : apart] *= 3e37
            case "far together":
                rows[:apart] = 1e38
        return rows[torch.randperm(num_rows, generator=generator)]

    return make


@pytest.fixture(params=["plain", "clustered far from zero", "two clusters", "duplicates", "far-off rows"])
def adverse_rows(request: pytest.FixtureRequest, make_adverse: Callable[..., Tensor]) -> Tensor:
    """11 rows of 300 coordinates; in two kinds 4 are far from the rest."""
    return make_adverse(request.param, 11, 300, seed=7, apart=4)


@pytest.fixture(scope="session")
def square() -> Tensor:
    """The example of ByzFL's documentation."""
    return torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]], dtype=torch.float64)


@pytest.fixture(scope="session")
def larger() -> Tensor:
    """12 rows of 6 coordinates, the last three long; what the tests expect of them came out of ByzFL 0.0.11."""
    rows = [
        [(7 * i * i + 5 * j * j + 3 * i * j) % 11 + 0.25 * ((3 * i + 2 * j) % 5) for j in range(6)] for i in range(12)
    ]
    return torch.tensor(rows, dtype=torch.float64) * torch.tensor([1.0] * 9 + [3.0] * 3, dtype=torch.float64)[:, None]


@pytest.fixture(scope="session")
def first_nine() -> Tensor:
    """The mean of the first nine rows of `larger`, which several rules choose."""
    return torch.tensor([6.3888889, 5.0, 5.1944444, 4.25, 4.8888889, 3.1666667], dtype=torch.float64)
