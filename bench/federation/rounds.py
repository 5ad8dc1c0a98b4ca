"""One round of a defense: upload, forging, channel, aggregation. Training, audits and the contract's probes play this.

Clients, channel and server each run a copy of the defense of their own, so that nothing passes between them but
messages; what a party wants to know in the next round it keeps in its memory.
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, LocalRound, PeerMessages, ServerRound, Setting
from bench.protocol.contract import check_delivered, check_shape, check_upload, untouched


@dataclass(frozen=True)
class Sides:
    """A defense as its three parties run it, each with a copy of its own."""

    clients: Defense
    channel: Defense
    server: Defense

    @classmethod
    def of(cls, defense: Defense) -> Self:
        return cls(defense.side("clients"), defense.side("channel"), defense.side("server"))

    def start(self, setting: Setting) -> None:
        """Let each party refuse, with `ValueError`, a setting that the defense cannot work in."""
        for side in (self.clients, self.channel, self.server):
            side.start(setting)


@dataclass
class ClientMemory:
    """What each client remembers: tensors `(n, ...)` by name, one row a client, zeros for one that has kept nothing."""

    num_clients: int
    kept: dict[str, Tensor] = field(default_factory=dict)

    def of(self, clients: Tensor) -> dict[str, Tensor]:
        """The rows of these clients `(m,)`, by name; the clients' side may replace them and add others."""
        return {name: rows[clients] for name, rows in self.kept.items()}

    def keep(self, clients: Tensor, memory: Mapping[str, Tensor], step: str) -> None:
        """Keep what these clients `(m,)` have in memory now; `ValueError` unless each tensor has a row a client."""
        for name, rows in memory.items():
            if not isinstance(rows, Tensor) or rows.shape[:1] != clients.shape:
                given = tuple(rows.shape) if isinstance(rows, Tensor) else type(rows).__name__
                raise ValueError(f"{step} left {given} in memory[{name!r}], not a tensor with a row for each client")
            if name not in self.kept:
                self.kept[name] = rows.new_zeros(self.num_clients, *rows.shape[1:])
            self.kept[name][clients] = rows


Guard = Callable[[str, dict[str, Tensor]], AbstractContextManager[None]]
"""What stands around each step, by name: it sees the tensors that the step is given, which must stay as they are."""


def held(step: str, given: dict[str, Tensor]) -> AbstractContextManager[None]:
    """The engine's guard: `ValueError` where a step changes in place what it was given."""
    return untouched(step, closely=False, **given)


@dataclass(frozen=True)
class Exchange:
    """What was sent `messages (m, d)`, what reached the server of it, and what clients told each other."""

    messages: Tensor
    delivered: Delivered
    peers: PeerMessages | None


def exchange(
    sides: Sides,
    local: LocalRound,
    channel: torch.Generator,
    forge: Callable[[Tensor], Tensor] = lambda messages: messages,
    guard: Guard = held,
) -> Exchange:
    """Upload, forging and channel; `forge` makes what is sent of what honest clients would send.

    Raises `ValueError` where a step breaks its shape or alphabet, or changes what it was given.
    """
    name, updates = sides.clients.name, local.updates
    given = {"broadcast": local.global_model, "updates": updates, "weights": local.weights}
    with guard(f"{name}.upload", given):
        upload = sides.clients.upload(local)
        check_upload(upload, f"{name}.upload", updates.shape, sides.clients.alphabet)
    messages = forge(upload.messages)
    with guard(f"{name}.deliver", {"broadcast": local.global_model, "messages": messages}):
        delivered = sides.channel.deliver(messages, channel)
        check_delivered(delivered, f"{name}.deliver", updates.shape[1])
    return Exchange(messages, delivered, upload.peers)


def aggregate(sides: Sides, sent: Exchange, server: ServerRound, guard: Guard = held) -> Tensor:
    """The next global model `(d,)`; raises `ValueError` as `exchange` does."""
    step, wanted = f"{sides.server.name}.aggregate", server.global_model
    given = {"broadcast": wanted, "messages": sent.messages, "rows": sent.delivered.rows, "weights": server.weights}
    with guard(step, given):
        model = sides.server.aggregate(sent.delivered, server)
        check_model(model, step, wanted)
    return model


def check_model(model: Tensor, step: str, wanted: Tensor) -> None:
    """Raise `ValueError` unless the model has the shape `(d,)` and the type of the one that was broadcast."""
    check_shape(model, step, wanted.shape)
    if model.dtype != wanted.dtype:
        raise ValueError(f"{step} returned {model.dtype}, not {wanted.dtype}")


def arrived(delivered: Delivered, weights: Tensor) -> Tensor:
    """The weights p_k `(k,)` of the delivered rows, of those `(m,)` of all senders."""
    return weights if delivered.senders is None else weights[delivered.senders]


def names_of(delivered: Delivered, clients: Tensor) -> Tensor | None:
    """The names `(k,)` of those whose rows were delivered, of all senders `(m,)`; None where rows are not linked."""
    return None if delivered.senders is None else clients[delivered.senders]
