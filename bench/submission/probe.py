"""A round of a defense on made-up messages, step by step, with everything that it was given looked at afterwards."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from bench import models
from bench.base import rng
from bench.federation.rounds import Sides, aggregate, arrived, exchange, names_of
from bench.models import Model
from bench.protocol import Alphabet, Defense, LocalRound, ServerRound, Setting
from bench.protocol.contract import check_upload
from bench.submission.common import untouched
from bench.submission.guards import Watch
from bench.submission.problems import watched

CLIENTS, DIM = 20, 50
LR = 0.1
CLASSES = 10
"""Of the softmax regression that a probe pretends to train."""
FRACTIONS = (0.2, 0.1, 0.0)
"""Assumed Byzantine fractions that are tried where a rule refuses the suite's at so few clients."""


@dataclass(frozen=True)
class Subject:
    """What is examined: a class with its parameters, watched, at an assumed Byzantine fraction."""

    cls: type[Defense]
    parameters: Mapping[str, Any]
    assumed: float
    watch: Watch

    def build(self) -> Defense:
        """A fresh instance: nothing is carried from one probe to the next."""
        with self.step("its construction"):
            return self.cls(**self.parameters)

    def step(self, name: str) -> AbstractContextManager[None]:
        """What a step raises, in a sentence that names it."""
        return watched(self.watch, name)


@dataclass(frozen=True)
class Inputs:
    """What a round starts from: updates `(n, d)` of the clients and the broadcast `(d,)`."""

    updates: Tensor
    broadcast: Tensor
    seed: int = 0

    @property
    def size(self) -> tuple[int, int]:
        return self.updates.shape[0], self.updates.shape[1]


@dataclass(frozen=True)
class Played:
    """What the steps gave, and whether the server's side drew random numbers."""

    messages: Tensor
    model: Tensor
    drew: bool


def inputs(clients: int = CLIENTS, dim: int = DIM, dtype: torch.dtype = torch.float64, seed: int = 0) -> Inputs:
    """Updates of honest clients: a direction that they share, and as much that they do not."""
    generator = rng.generator(seed, "probe", clients, dim)
    shared = torch.randn(dim, generator=generator, dtype=torch.float64)
    own = torch.randn(clients, dim, generator=generator, dtype=torch.float64)
    broadcast = torch.randn(dim, generator=generator, dtype=torch.float64)
    return Inputs((LR * (shared + own)).to(dtype), broadcast.to(dtype), seed)


def setting(subject: Subject, clients: int = CLIENTS, dim: int = DIM) -> Setting:
    """The public facts of the federation that a probe pretends to be."""
    return Setting(clients, clients, dim, 10, LR, None, subject.assumed, 1e-6)


def play(
    subject: Subject,
    given: Inputs,
    forge: Callable[[Tensor], Tensor] = lambda messages: messages,
    *,
    server_seed: int | None = None,
    look: bool = False,
    sides: Sides | None = None,
) -> Played:
    """One round, from fresh where no `sides` are given; `forge` makes what arrives at the channel of what was uploaded.

    Raises `StepError` where a step raises, breaks its shape, type or alphabet, or, with `look`, what it was given.
    """
    sides = started(subject, given.size) if sides is None else sides
    facts = setting(subject, *given.size)
    local = local_round(given, facts)
    seed = given.seed if server_seed is None else server_seed
    channel, server_draws = (rng.generator(seed, role, 0) for role in ("channel", "server"))
    states = channel.get_state(), server_draws.get_state()
    guard = partial(_watched, subject, look)
    sent = exchange(sides, local, channel, forge, guard)
    weights, names = arrived(sent.delivered, local.weights), names_of(sent.delivered, local.clients)
    known = architecture(given.size[1])
    layers = () if known is None else known.layers
    server = ServerRound(0, facts, given.broadcast, weights, server_draws, clients=names, layers=layers, model=known)
    if sides.server.num_root_samples():
        server = replace(server, root_update=given.updates.mean(dim=0))
    model = aggregate(sides, sent, server, guard)
    drew = not (torch.equal(states[0], channel.get_state()) and torch.equal(states[1], server_draws.get_state()))
    return Played(sent.messages, model, drew)


def architecture(dim: int) -> Model | None:
    """A softmax regression of ten classes with this many parameters; None where there is none."""
    return models.build("softmax", (1, 1, dim // CLASSES - 1), CLASSES) if dim % CLASSES == 0 < dim - CLASSES else None


def started(subject: Subject, size: tuple[int, int]) -> Sides:
    """The sides of a fresh instance, for rounds of that size (clients, parameters)."""
    sides = Sides.of(subject.build())
    with subject.step("start"):
        sides.start(setting(subject, *size))
    return sides


@contextmanager
def _watched(subject: Subject, look: bool, step: str, given: Mapping[str, Tensor]) -> Iterator[None]:
    """What a step raises becomes a sentence that names it; with `look` every bit of what it was given is compared."""
    step = step.removeprefix(f"{subject.cls.name}.")
    with subject.step(step), untouched(look, step, **given):
        yield


def upload(subject: Subject, defense: Defense, local: LocalRound) -> Tensor:
    """The clients' messages `(n, d)`."""
    with subject.step("upload"):
        sent = defense.upload(local)
        check_upload(sent, "upload", local.updates.shape, defense.alphabet)
    return sent.messages


def local_round(given: Inputs, facts: Setting, draw: int = 0) -> LocalRound:
    """The clients' side; `draw` counts independent rounds on the same updates."""
    n = len(given.updates)
    weights = torch.full((n,), 1 / n, dtype=given.updates.dtype)
    noise = rng.generator(given.seed, "noise", draw)
    return LocalRound(0, torch.arange(n), facts, given.broadcast, given.updates, weights, noise)


def forged_extremes(alphabet: Alphabet) -> dict[str, Callable[[Tensor], Tensor]]:
    """What Byzantine clients may send, finite and in the alphabet, that brings a careless rule to its knees."""
    if alphabet is Alphabet.TERNARY:
        return {
            f"all messages are {value}": lambda messages, value=value: torch.full_like(messages, value)  # type: ignore[misc]
            for value in (-1, 0, 1)
        }

    def one(value: float) -> Callable[[Tensor], Tensor]:
        return lambda messages: torch.cat([torch.full_like(messages[:1], value), messages[1:]])

    return {
        "all messages are 0": torch.zeros_like,
        "all messages are equal": lambda messages: messages[:1].expand_as(messages).clone(),
        "all messages are tiny (1e-30)": lambda messages: torch.full_like(messages, 1e-30),
        "one message is 0": one(0.0),
        "one message is 1e20, whose square is more than float32 holds": one(1e20),
        "one message is -1e30": one(-1e30),
    }
