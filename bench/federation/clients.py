"""Local training: all clients of a round as one batched computation, in blocks that stay in cache and under a bound.

A client's shard lies in random order, drawn once with the partition. A round's batches are windows over that order,
which is taken as a circle, from a random start that all clients of the round share: every sample is equally likely, an
epoch visits each one once, and a batch is a strided slice of memory rather than a gather.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.base.device import on_gpu
from bench.base.errors import require
from bench.federation.kept import Kept
from bench.models.base import Model, one_hot

RESIDENT_BYTES = 2 * 2**30
"""Shards larger than this are gathered batch by batch from the data set instead of being held client by client."""


ENDLESS = 2**40
"""Places on the circle where clients hold different numbers of samples: each goes round and round its own."""

GPU_BLOCK_BYTES = 2**32
"""What a block of clients may take on a GPU: there are no caches to stay in, and a launch costs as much as its work."""


CLIP_EPSILON = 1e-6
"""What `clip_grad_norm_` adds to a norm before it divides by it."""


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


@dataclass(frozen=True)
class Step:
    """What a local step makes of its batch's gradient: as torch does it, clipped first, then weight decay is added.

    `max_norm` clips each client's gradient as `clip_grad_norm_` does; `weight_decay` is that of `torch.optim.SGD`.
    """

    weight_decay: float = 0.0
    max_norm: float | None = None

    @property
    def is_plain(self) -> bool:
        return not self.weight_decay and self.max_norm is None

    def direction(self, model: Model, params: Tensor, x: Tensor, targets: Tensor) -> Tensor:
        """What the step goes against, `(m, d)`, at the models `(d,)` or `(m, d)`; running statistics are left alone."""
        gradients = model.gradients(params, x, targets)
        trained = gradients[:, : model.num_trained]
        if self.max_norm is not None:
            norms = torch.linalg.vector_norm(trained, dim=1, keepdim=True)
            trained *= (self.max_norm / (norms + CLIP_EPSILON)).clamp_(max=1)
        if self.weight_decay:
            trained.add_(params[..., : model.num_trained], alpha=self.weight_decay)
        return gradients

    def update(self, model: Model, params: Tensor, x: Tensor, targets: Tensor, lr: float, out: Tensor) -> None:
        """What one step from the shared model `(d,)` adds to it, in `out (m, d)`."""
        if self.is_plain:
            model.update(params, x, targets, lr, out=out)
        else:
            model.follow(self.direction(model, params, x, targets), lr, out)

    def descend_(self, model: Model, params: Tensor, x: Tensor, targets: Tensor, lr: float) -> None:
        """One step of every client, in place, on their models `(m, d)`."""
        if self.is_plain:
            model.descend_(params, x, targets, lr)
        else:
            model.follow_(params, self.direction(model, params, x, targets), lr)


PLAIN = Step()
"""Nothing but SGD."""


class Shards:
    """The clients' data, one row a client; a row's first samples stand again at its end, which closes the circle.

    Clients that are trained together lie side by side: `place (n,)` says where a client's row is.
    """

    def __init__(
        self,
        x: Tensor,
        y: Tensor,
        indices: Tensor,
        num_classes: int,
        batch_size: int,
        order: Tensor | None = None,
        sizes: Tensor | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """X `(N, C, H, W)`, y `(N,)`, indices `(n, s)` from a partition; windows hold up to `batch_size` samples.

        `order (n,)` names the clients as they shall lie; by default in the order of their names. `sizes (n,)` says how
        many of its row each client holds; by default all s. Batches are of `dtype`, by default that of x.
        """
        self.dtype = dtype or x.dtype
        self.indices = indices
        self.num_classes = num_classes
        self.sample_numel = x[0].numel()
        self.place = torch.arange(len(indices)) if order is None else order.argsort()
        placed = indices if order is None else indices[order]
        self._sizes = None if sizes is None else (sizes if order is None else sizes[order]).unsqueeze(1)
        closing = placed[:, : min(batch_size, placed.shape[1]) - 1]
        self._rows = torch.cat([placed, closing], dim=1) if sizes is None else placed
        self._x, self._targets = x, one_hot(y, num_classes, self.dtype)
        held = self._rows.numel() * self.sample_numel * x.element_size()
        self._resident = sizes is None and held <= RESIDENT_BYTES and x.dtype == self.dtype
        if self._resident:
            self._x, self._targets = x[self._rows], self._targets[self._rows]

    def hold(self, clients: Tensor, x: Tensor, y: Tensor) -> None:
        """From now on these clients hold B samples, x `(k, B, C, H, W)` and y `(k, B)`, over and over in this order.

        Any window of B samples then has each of them once. Raises `ValueError` unless B divides the shards' size.
        """
        kept = y.shape[1]
        require(self.size % kept == 0, "samples_per_client", self.size, f"a multiple of the {kept} images of a batch")
        again = torch.arange(self._rows.shape[1]) % kept
        targets, places = one_hot(y, self.num_classes, self._targets.dtype), self.place[clients]
        if self._resident:
            self._x[places], self._targets[places] = x[:, again], targets[:, again]
            return
        own = len(self._x) + torch.arange(y.numel()).view_as(y)
        self._x = torch.cat([self._x, x.flatten(0, 1)])
        self._targets = torch.cat([self._targets, targets.flatten(0, 1)])
        self._rows[places] = own[:, again]

    @property
    def num_clients(self) -> int:
        return self.indices.shape[0]

    @property
    def size(self) -> int:
        """s, the samples of each client, or of the largest one."""
        return self.indices.shape[1]

    @property
    def circle(self) -> int:
        """The places from which windows are taken."""
        return self.size if self._sizes is None else ENDLESS

    def window(self, places: slice | Tensor, start: int, size: int) -> tuple[Tensor, Tensor]:
        """Inputs `(m, size, C, H, W)` and one-hot targets `(m, size, classes)` of a batch, `start` on their circle.

        A client with fewer samples than the batch has them in it more than once.
        """
        at = slice(start, start + size)
        if self._resident:
            return self._x[places, at], self._targets[places, at]
        if self._sizes is None:
            rows = self._rows[places, at]
        else:
            rows = self._rows[places].gather(1, torch.arange(start, start + size) % self._sizes[places])
        x = self._x.index_select(0, rows.flatten()).to(self.dtype)
        return x.unflatten(0, rows.shape), self._targets[rows]


def as_held(x: Tensor, dtype: torch.dtype) -> Tensor:
    """Samples in the type of the computation; float16 stays, and is taken to it batch by batch."""
    return x if x.dtype == torch.float16 else x.to(dtype)


def blocks_of(
    model: Model, shards: Shards, clients: Tensor, batch_size: int, element_size: int
) -> Iterator[tuple[slice, slice | Tensor]]:
    """(rows of the round, places) of each block of clients; those side by side are slices, without a gather."""
    bytes_per_client = element_size * (3 * model.dim + 2 * batch_size * shards.sample_numel)
    room = GPU_BLOCK_BYTES if on_gpu(shards.place) else model.block_bytes
    step = max(1, room // bytes_per_client)
    places = shards.place[clients]
    side_by_side = bool((places.diff() == 1).all())
    for start in range(0, len(clients), step):
        rows = slice(start, min(start + step, len(clients)))
        first = int(places[start])
        yield rows, slice(first, first + rows.stop - rows.start) if side_by_side else places[rows]


class Momentum:
    """Client momentum (Karimireddy et al. 2021, algorithm 2): v <- beta v + (1 - beta) update, and v is sent."""

    def __init__(self, beta: float, num_clients: int, like: Tensor) -> None:
        self.beta = beta
        self.velocity = Kept(num_clients, torch.zeros_like(like))  # each client's at its place

    def apply_(self, updates: Tensor, places: slice | Tensor) -> None:
        """Turn the updates `(c, d)` of the clients at these places into what they send."""
        velocity = self.velocity.take(places).lerp_(updates, 1 - self.beta)
        updates.copy_(velocity)
        self.velocity.put(places, velocity)


def sgd_blocks(
    model: Model,
    global_model: Tensor,
    shards: Shards,
    clients: Tensor,
    windows: Sequence[tuple[int, int]],
    lr: float,
    out: Tensor | None = None,
    momentum: Momentum | None = None,
    step: Step = PLAIN,
) -> Iterator[tuple[slice, Tensor]]:
    """Local SGD from the global model `(d,)`, block by block: rows of the round, their updates `(c, d)`.

    The updates stand in `out (m, d)` where it is given; else the next block overwrites them.
    """
    scratch = _Scratch(global_model)
    for rows, places in blocks_of(model, shards, clients, windows[0][1], global_model.element_size()):
        updates = scratch.rows(rows.stop - rows.start) if out is None else out[rows]
        (start, size), *rest = windows
        step.update(model, global_model, *shards.window(places, start, size), lr, out=updates)
        if rest:
            models = updates.add_(global_model)
            for start, size in rest:
                step.descend_(model, models, *shards.window(places, start, size), lr)
            models.sub_(global_model)
        if momentum is not None:
            momentum.apply_(updates, places)
        yield rows, updates


def rsa_blocks(
    model: Model,
    personal: Kept,
    global_model: Tensor,
    shards: Shards,
    clients: Tensor,
    windows: Sequence[tuple[int, int]],
    lr: float,
    penalty: float,
    out: Tensor | None = None,
    step: Step = PLAIN,
) -> Iterator[tuple[slice, Tensor]]:
    """RSA on the models `(n, d)` that clients keep, each at its place: what it is away from the global one; its step.

    Yields rows of the round and their w_i - w_0 `(c, d)`, as `sgd_blocks` does. When the consumer asks for the next
    block, the step of this one is taken in place (DPBFL paper, eq. 3; eq. 9 is the same step):
    w_i <- w_i - lr * (grad L(w_i) + penalty * sign(w_i - w_0)), once a batch, from the signs that it starts with;
    what `step` says is of the loss alone, whose gradient it clips and to which it adds weight decay.
    """
    scratch = _Scratch(global_model)
    for rows, places in blocks_of(model, shards, clients, windows[0][1], global_model.element_size()):
        models, away = personal.take(places), scratch.rows(rows.stop - rows.start)
        torch.sub(models, global_model, out=away)
        yield rows, away if out is None else out[rows].copy_(away)
        for index, at in enumerate(windows):
            if index:
                torch.sub(models, global_model, out=away)
            step.descend_(model, models, *shards.window(places, *at), lr)
            models.sub_(away.sign_(), alpha=lr * penalty)
        personal.put(places, models)


class _Scratch:
    """One block's worth of rows `(c, d)` like a model, allocated once: fresh pages cost more than the arithmetic."""

    def __init__(self, like: Tensor) -> None:
        self._like = like
        self._rows = like.new_empty(0, len(like))

    def rows(self, count: int) -> Tensor:
        if len(self._rows) < count:
            self._rows = self._like.new_empty(count, len(self._like))
        return self._rows[:count]
