"""Builders that the tests of the attacks share: what Byzantine clients see, privacy attacks on small federations."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.attacking.inversion import Observation, observations
from bench.base import rng
from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.metrics import image_metrics, matched
from bench.protocol import Alphabet, Defense, Setting
from bench.threat import ByzantineView, PrivacyAttack, Reconstruction, View, choose_colluders, server_view
from defenses.fedavg import FedAvg


@pytest.fixture(scope="session")
def byzantine_view() -> Callable[..., ByzantineView]:
    def make(
        own: Tensor,
        alphabet: Alphabet = Alphabet.REAL,
        broadcast: Tensor | None = None,
        seed: int = 0,
        memory: dict[str, Tensor] | None = None,
        clients: int = 10,
        updates: Tensor | None = None,
    ) -> ByzantineView:
        broadcast = torch.zeros(own.shape[1]) if broadcast is None else broadcast
        generator, setting = torch.Generator().manual_seed(seed), setting_for(own, clients)
        known = (alphabet, generator, setting, {} if memory is None else memory)
        return ByzantineView(own, None, broadcast, *known, updates=own if updates is None else updates)

    return make


def setting_for(own: Tensor, clients: int) -> Setting:
    """A federation of so many clients, all of whom take part and of whom those with `own (f, d)` are Byzantine."""
    return Setting(clients, clients, own.shape[1], 10, 0.1, None, len(own) / clients, 1e-6)


@pytest.fixture(scope="session")
def omniscient_view() -> Callable[..., ByzantineView]:
    """A view of honest messages; the deployed rule is the mean where none is given."""

    def make(honest: Tensor, own: Tensor, alphabet: Alphabet = Alphabet.REAL, **known: Any) -> ByzantineView:
        broadcast = known.pop("broadcast", torch.zeros(own.shape[1]))
        known = {"aggregate": lambda rows: rows.float().mean(dim=0)} | known
        generator, names = torch.Generator().manual_seed(0), torch.arange(len(honest))
        setting = setting_for(own, len(own) + len(honest))
        known = {"updates": own.to(broadcast.dtype)} | known
        return replace(ByzantineView(own, honest, broadcast, alphabet, generator, setting, {}, names), **known)

    return make


@dataclass(frozen=True)
class Inversion:
    """What an attack made of four targets with B images each, and how close it came, image by image `(4 B,)`."""

    found: Reconstruction
    psnr: Tensor
    label_recovered: Tensor


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def invert(digits: Dataset) -> Callable[..., Inversion]:
    """Rounds of 8 clients with one digit each, or a batch of them; the attack on the first four."""

    def run(
        defense: Defense, attack: PrivacyAttack, model: str = "lenet", seed: int = 0, batch: int = 1, **changes: Any
    ) -> Inversion:
        return _invert(digits, defense, attack, 4, seed, model=model, clients=8, batch_size=batch, **changes)

    return run


@pytest.fixture(scope="session")
def pictures(data_root: Path) -> Callable[..., Inversion]:
    """One round of 8 clients with one picture each of the CIFAR-100 sample; the attack on all of them."""

    def run(attack: PrivacyAttack, seed: int = 0) -> Inversion:
        data = load("cifar100-sample", data_root)
        return _invert(data, FedAvg(), attack, 8, seed, model="lenet", clients=8, batch_size=1, dtype="float64")

    return run


@pytest.fixture(scope="session")
def watch(digits: Dataset) -> Callable[..., Any]:
    """Two rounds of 8 clients: the view of the first four, what it reveals, and their images and targets."""

    def run(defense: Defense, batch: int = 1, **changes: Any) -> tuple[View, list[Observation], Tensor, Tensor]:
        given = {"model": "lenet", "clients": 8, "rounds": 2, "batch_size": batch, "dtype": "float64", **changes}
        view, x, y = _watch(digits, defense, 4, 0, 0.0, **given)
        return view, observations(view, [seen.estimate for seen in view.rounds]), x, y

    return run


def _invert(
    data: Dataset, defense: Defense, attack: PrivacyAttack, num_targets: int, seed: int, **given: Any
) -> Inversion:
    view, x, y = _watch(data, defense, num_targets, seed, attack.collusion(), **given)
    found = attack.infer(view, rng.generator(seed, "attack"))
    psnr = image_metrics(matched(found.images, x, data).flatten(0, 1), x.flatten(0, 1), data)["psnr"]
    labels = y.argmax(dim=-1).sort(dim=1).values
    return Inversion(found, psnr, (found.labels.sort(dim=1).values == labels).flatten())


def _watch(
    data: Dataset, defense: Defense, num_targets: int, seed: int, rho: float, **given: Any
) -> tuple[View, Tensor, Tensor]:
    """The view of the first clients, their images `(T, B, C, H, W)` and targets `(T, B, classes)`."""
    local = {"samples_per_client": given["batch_size"], "rounds": 1, "local_steps": 1, "lr": 0.1}
    settings = FederationSettings(dataset=data.name, **{**local, **given})
    federation = Federation(settings, defense, data, seed)
    targets = torch.arange(num_targets)
    colluders = choose_colluders(settings.clients, targets, rho, rng.generator(seed, "colluders"))
    view = View(
        facts=federation.facts(data.mean, data.std),
        targets=targets,
        rounds=tuple(server_view(transcript, targets, colluders) for transcript in federation.rounds()),
        image_shape=data.shape,
        mean_image=data.train.x.mean(dim=0),
    )
    return view, *federation.shards.window(targets, 0, settings.batch_size)
