"""Local training: all clients of a round as one batched computation, in chunks that stay in cache and under a bound.

A client's shard lies in random order, drawn once with the partition. A round's batches are windows over that order,
which is taken as a circle, from a random start that all clients of the round share: every sample is equally likely, an
epoch visits each one once, and a batch is a strided slice of memory rather than a gather.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.errors import require
from bench.models import Model, one_hot

CHUNK_BYTES = 8 * 2**20
"""What a chunk of clients may take for its models, gradients and batch together: about a core's share of the cache."""

RESIDENT_BYTES = 2 * 2**30
"""Shards larger than this are gathered batch by batch from the data set instead of being held client by client."""


@dataclass(frozen=True)
class Plan:
    """How a client trains in one round: `epochs` over its shard, or a number of `steps`, in batches of `batch_size`."""

    batch_size: int
    epochs: int | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        require(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")
        given = [value for value in (self.epochs, self.steps) if value is not None]
        require(
            len(given) == 1 and given[0] >= 1, "epochs, steps", (self.epochs, self.steps), "one of them, at least 1"
        )

    def num_steps(self, shard_size: int) -> int:
        """SGD steps of one round on a shard of `shard_size` samples."""
        return self.steps or (self.epochs or 0) * -(-shard_size // self.batch_size)

    def windows(self, shard_size: int, generator: torch.Generator) -> list[tuple[int, int]]:
        """(start, size) of each batch on the circle of `shard_size` samples; an epoch's last batch is what remains."""
        offset = int(torch.randint(shard_size, (1,), generator=generator, device=generator.device))
        size = min(self.batch_size, shard_size)
        if self.steps is not None:
            return [((offset + step * size) % shard_size, size) for step in range(self.steps)]
        epoch = [((offset + at) % shard_size, min(size, shard_size - at)) for at in range(0, shard_size, size)]
        return epoch * (self.epochs or 1)


class Shards:
    """The clients' data, one row a client; a row's first samples stand again at its end, which closes the circle."""

    def __init__(self, x: Tensor, y: Tensor, indices: Tensor, num_classes: int, batch_size: int) -> None:
        """X `(N, C, H, W)`, y `(N,)`, indices `(n, s)` from a partition; windows hold up to `batch_size` samples."""
        self.indices = indices
        self.num_classes = num_classes
        self.sample_numel = x[0].numel()
        self._rows = torch.cat([indices, indices[:, : min(batch_size, indices.shape[1]) - 1]], dim=1)
        self._x, self._y = x, y
        self._resident = self._rows.numel() * self.sample_numel * x.element_size() <= RESIDENT_BYTES
        if self._resident:
            self._x, self._y = x[self._rows], y[self._rows]

    @property
    def num_clients(self) -> int:
        return self.indices.shape[0]

    @property
    def size(self) -> int:
        """s, the samples of each client."""
        return self.indices.shape[1]

    def window(self, clients: slice | Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Inputs `(m, size, C, H, W)` and labels `(m, size)` of a batch of these clients, `start` on their circle."""
        at = slice(start, start + size)
        if self._resident:
            return self._x[clients, at], self._y[clients, at]
        rows = self._rows[clients, at]
        return self._x[rows], self._y[rows]


def chunks(
    model: Model, shards: Shards, clients: Tensor, batch_size: int, element_size: int
) -> Iterator[tuple[slice, slice | Tensor]]:
    """(rows of the round, clients in the shards) of each chunk; all clients in order are slices, without a gather."""
    bytes_per_client = element_size * (3 * model.dim + 2 * batch_size * shards.sample_numel)
    step = max(1, CHUNK_BYTES // bytes_per_client)
    everyone = len(clients) == shards.num_clients and bool((clients == torch.arange(len(clients))).all())
    for start in range(0, len(clients), step):
        rows = slice(start, min(start + step, len(clients)))
        yield rows, rows if everyone else clients[rows]


def local_sgd(
    model: Model,
    global_model: Tensor,
    shards: Shards,
    clients: Tensor,
    windows: Sequence[tuple[int, int]],
    lr: float,
) -> Tensor:
    """Plain local SGD from the global model `(d,)`: the clients' models `(m, d)` after the batches of `windows`."""
    models = global_model.repeat(len(clients), 1)
    for rows, members in chunks(model, shards, clients, windows[0][1], models.element_size()):
        for start, size in windows:
            x, y = shards.window(members, start, size)
            model.descend_(models[rows], x, one_hot(y, shards.num_classes, models.dtype), lr)
    return models


def rsa_step_(
    model: Model,
    personal: Tensor,
    global_model: Tensor,
    shards: Shards,
    clients: Tensor,
    windows: Sequence[tuple[int, int]],
    lr: float,
    penalty: float,
) -> None:
    """RSA's step on the models `(n, d)` that the clients keep, in place (DPBFL paper, eq. 3; eq. 9 is the same step).

    w_i <- w_i - lr * (grad L(w_i) + penalty * sign(w_i - w_0)), once a batch, the signs those of the model that the
    step starts from.
    """
    for _, members in chunks(model, shards, clients, windows[0][1], personal.element_size()):
        models = personal[members]
        for start, size in windows:
            x, y = shards.window(members, start, size)
            pull = torch.sign(models - global_model).mul_(lr * penalty)
            model.descend_(models, x, one_hot(y, shards.num_classes, models.dtype), lr)
            models -= pull
        if not isinstance(members, slice):
            personal[members] = models
