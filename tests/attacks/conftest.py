"""Builders that the tests of the attacks share: what Byzantine clients see, privacy attacks on small federations."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import rng
from bench.data import Dataset, load
from bench.federation import Federation
from bench.metrics import image_metrics
from bench.protocol import Alphabet, Defense
from bench.settings import FederationSettings
from bench.threat import ByzantineView, PrivacyAttack, Reconstruction, View, choose_colluders, server_view


@pytest.fixture(scope="session")
def byzantine_view() -> Callable[..., ByzantineView]:
    def make(own: Tensor, alphabet: Alphabet = Alphabet.REAL, broadcast: Tensor | None = None, seed: int = 0) -> Any:
        broadcast = torch.zeros(own.shape[1]) if broadcast is None else broadcast
        return ByzantineView(own, None, broadcast, alphabet, torch.Generator().manual_seed(seed))

    return make


@dataclass(frozen=True)
class Inversion:
    """What an attack made of four targets, and how close it came."""

    found: Reconstruction
    psnr: Tensor
    label_recovered: Tensor


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


@pytest.fixture(scope="session")
def invert(digits: Dataset) -> Callable[..., Inversion]:
    """One round of 8 clients with one digit each; the attack on the first four."""

    def run(defense: Defense, attack: PrivacyAttack, model: str = "lenet", seed: int = 0) -> Inversion:
        settings = FederationSettings(
            dataset="digits",
            model=model,
            clients=8,
            samples_per_client=1,
            rounds=1,
            local_steps=1,
            batch_size=1,
            lr=0.1,
        )
        federation = Federation(settings, defense, digits, seed)
        targets = torch.arange(4)
        colluders = choose_colluders(8, targets, attack.collusion(), rng.generator(seed, "colluders"))
        view = View(
            facts=federation.facts(digits.mean, digits.std),
            targets=targets,
            rounds=(server_view(federation.play(), targets, colluders),),
            image_shape=digits.shape,
            mean_image=digits.train.x.mean(dim=0),
        )
        found = attack.infer(view, rng.generator(seed, "attack"))
        x, y = federation.shards.window(targets, 0, 1)
        psnr = image_metrics(found.images, x[:, 0], digits)["psnr"]
        return Inversion(found, psnr, found.labels == y[:, 0].argmax(dim=-1))

    return run
