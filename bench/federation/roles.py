"""Who does what in a federation, by its settings and the seed: Byzantine clients, participants, public facts."""

import torch
from torch import Tensor

from bench.base import device, rng
from bench.base.errors import require, require_somebody
from bench.data import client_sizes, partition, shard_size
from bench.federation.settings import FederationSettings
from bench.models.base import Model
from bench.protocol import Alphabet, Defense, Setting


def setting_of(settings: FederationSettings, dim: int, assumed_byzantine: float) -> Setting:
    """The public facts of a federation with these settings, whose model has `dim` parameters."""
    return Setting(
        num_clients=settings.clients,
        participants=settings.participants,
        dim=dim,
        rounds=settings.rounds,
        lr=settings.lr,
        lr_decay=settings.lr_decay,
        assumed_byzantine=assumed_byzantine,
        delta=settings.delta,
        lr_milestones=settings.lr_milestones or (),
        lr_milestone_factor=settings.lr_milestone_factor,
    )


def check_fits(settings: FederationSettings, defense: Defense) -> None:
    """Raise `ValueError` where a setting has no meaning under the defense."""
    claims = type(defense).claim is not Defense.claim
    if claims and defense.alphabet is Alphabet.REAL:  # signs count alike, whoever sends them
        text = f"'equal' under {defense.name}: what it claims of privacy is worked out for weights of 1 / m"
        require(settings.sizes == "equal", "sizes", settings.sizes, text)
    if defense.keeps_models:
        momentum, optimizer, under = settings.momentum, settings.server_optimizer, f"under {defense.name}"
        if momentum:
            raise ValueError(f"momentum is {momentum:g}, but must be 0 {under}: its clients keep models")
        require(
            optimizer == "none", "server_optimizer", optimizer, f"'none' {under}: its server takes a step of its own"
        )


def check_carries(model: Model, defense: Defense) -> None:
    """Raise `ValueError` where the defense cannot average what the model keeps beside its parameters."""
    if model.num_statistics and (defense.keeps_models or defense.alphabet is not Alphabet.REAL):
        why = "clients keep models" if defense.keeps_models else "messages are signs"
        raise ValueError(
            f"model is {model.name!r}, but must be one without running statistics under {defense.name}: its {why}"
        )


def holdings(settings: FederationSettings, labels: Tensor, seed: int) -> tuple[Tensor, Tensor | None]:
    """Which samples with `labels (N,)` each client holds `(n, s)`, and how many of its row: None where it is all."""
    n, sizes = settings.clients, None
    if settings.sizes != "equal":
        mean, draws = (
            shard_size(len(labels), n, settings.samples_per_client),
            rng.generator(seed, "sizes", device="cpu"),
        )
        sizes = client_sizes(settings.sizes, n, mean, draws, spread=settings.size_spread, alpha=settings.size_alpha)
    indices = partition(
        settings.partition,
        labels,
        n,
        settings.samples_per_client,
        rng.generator(seed, "partition", device="cpu"),
        shards_per_client=settings.shards_per_client,
        alpha=settings.alpha,
        similarity=settings.similarity,
        sizes=sizes,
    )
    place = device.current()
    return indices.to(place), None if sizes is None else sizes.to(place)


def byzantine_clients(settings: FederationSettings, byzantine: float, seed: int) -> Tensor:
    """`(n,)` bool: who is Byzantine, a fraction of all; `ValueError` where a positive one rounds to nobody."""
    require_somebody("byzantine", byzantine, settings.clients, "clients")
    chosen = rng.shuffled(settings.clients, rng.generator(seed, "byzantine", device="cpu"))
    result = torch.zeros(settings.clients, dtype=torch.bool)
    result[chosen[: round(byzantine * settings.clients)]] = True
    return result


def participants_of(settings: FederationSettings, seed: int, index: int) -> Tensor:
    """Names `(m,)` of a round's clients, in order."""
    n, m = settings.clients, settings.participants
    if m == n:
        return torch.arange(n)
    return rng.shuffled(n, rng.generator(seed, "participants", index, device="cpu"))[:m].sort().values


def byzantine_by_round(settings: FederationSettings, byzantine: float, seed: int) -> list[int]:
    """How many of each round's clients are Byzantine; a sample may hold more of them than their share of all."""
    who = byzantine_clients(settings, byzantine, seed)
    if settings.participants == settings.clients:
        return [int(who.sum())] * settings.rounds
    return [int(who[participants_of(settings, seed, index)].sum()) for index in range(settings.rounds)]


def assumed_fraction(settings: FederationSettings, num_byzantine: int) -> float:
    """The Byzantine fraction that a defense is told: what the suite assumes, or under `oracle_f` the true one."""
    return num_byzantine / settings.clients if settings.oracle_f else settings.assumed_byzantine
