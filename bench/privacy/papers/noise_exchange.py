"""NISS: the noise shares of a round, drawn in blocks that stay in cache, and again where memory is too small."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import torch
from torch import Tensor

from bench.base import rng
from bench.base.elementary import sqrt
from bench.base.errors import require

BLOCK_NUMBERS = 2**18
"""Noise of so many clients times coordinates is drawn at a time: a core's cache holds it."""

KEPT_BYTES = 64 * 2**20
"""Single shares are kept up to this size; above it, drawing them again is what fits into memory."""


@dataclass(frozen=True)
class Shares:
    """A client's shares: noise `sent (v, d)` to `receivers (v,)`, `got (v, d)` from `senders (v,)` before s."""

    sent: Tensor
    receivers: Tensor
    got: Tensor
    senders: Tensor


@dataclass(frozen=True)
class NoiseExchange:
    """The noise of one round, `(m, d)` each: a client's `own`, what it `received` (after s), and its `upload`.

    Single shares `(v, m, d)` are `kept` where they are few; else `legs` and `shares` draw them again from `seed`.
    """

    own: Tensor
    received: Tensor
    sigma: Tensor
    order: Tensor
    shifts: Tensor
    seed: int
    kept: Tensor | None = None
    silent: tuple[Tensor, ...] | None = None  # share by share, who sends zeros for it

    @classmethod
    def begin(
        cls,
        num_clients: int,
        dim: int,
        sigma_squared: float | Tensor,
        num_shares: int,
        generator: torch.Generator,
        dtype: torch.dtype,
        mute: Tensor | None = None,
    ) -> Self:
        """The tracker's random circle, and no noise yet; raises `ValueError` as `defenses.niss.exchange`."""
        require(num_clients >= 2, "num_clients", num_clients, "at least 2")
        require(1 <= num_shares <= num_clients - 1, "num_shares", num_shares, f"between 1 and {num_clients - 1}")
        require(dim >= 1, "dim", dim, "at least 1")
        require(dtype in (torch.float32, torch.float64), "dtype", dtype, "float32 or float64")
        fits = mute is None or mute.shape == (num_clients, num_clients)
        require(fits, "mute", None if mute is None else tuple(mute.shape), f"of shape {(num_clients, num_clients)}")
        sigma = sqrt(_column("sigma_squared", sigma_squared, num_clients, dtype))

        seed = int(torch.randint(2**62, (1,), generator=generator))
        tracker = rng.generator(seed, "tracker")
        few = num_shares * num_clients * dim * dtype.itemsize <= KEPT_BYTES
        noise = cls(
            own=torch.zeros(num_clients, dim, dtype=dtype),
            received=torch.zeros(num_clients, dim, dtype=dtype),
            sigma=sigma,
            order=torch.randperm(num_clients, generator=tracker),
            shifts=1 + torch.randperm(num_clients - 1, generator=tracker)[:num_shares],
            seed=seed,
            kept=torch.empty(num_shares, num_clients, dim, dtype=dtype) if few else None,
        )
        if mute is None:
            return noise
        silent = tuple(row.nonzero()[:, 0] for row in mute.mT.gather(0, noise.routes[0]))
        return replace(noise, silent=silent)

    def per_client(self, argument: str, value: float | Tensor) -> Tensor:
        """A value a client `(m, 1)`, of one or of `(m,)`; raises `ValueError` where one is negative."""
        return _column(argument, value, len(self.own), self.own.dtype)

    @property
    def upload(self) -> Tensor:
        """The noise that each client adds to p_k w, `own + received`."""
        return self.own + self.received

    @cached_property
    def routes(self) -> tuple[Tensor, Tensor]:
        """To whom, and from whom, `(v, m)` each: `shifts` places on along the tracker's random circle, and back."""
        m, places = len(self.order), self.order.argsort()
        shifts = self.shifts.unsqueeze(1)
        return self.order[(places + shifts) % m], self.order[(places - shifts) % m]

    def receivers(self, i: int) -> Tensor:
        """u_i of every client `(m,)`."""
        return self.routes[0][i]

    @cached_property
    def deviation(self) -> Tensor:
        """`(m, 1)`: the standard deviation of each client's shares, sigma_k / sqrt(v)."""
        return torch.div(self.sigma, len(self.shifts) ** 0.5)

    def noise(self, i: int) -> Tensor:
        """n_i of every client `(m, d)`, from N(0, sigma_k^2 / v)."""
        if self.kept is not None:
            return self.kept[i]
        return torch.cat([self.noise_at(i, columns) for columns in self.blocks()], dim=1)

    def noise_at(self, i: int, columns: slice) -> Tensor:
        """Those of some coordinates, which `blocks` gives; drawn anew."""
        n = self.own.new_empty(len(self.own), columns.stop - columns.start)
        n.normal_(generator=self.draws("share", i, columns.start))
        return n.mul_(self.deviation)

    def drawn(self, i: int, columns: slice) -> Tensor:
        """The same, drawn for the first time: kept where shares are few."""
        n = self.noise_at(i, columns)
        if self.kept is not None:
            self.kept[i, :, columns] = n
        return n

    def arrived(self, i: int, n: Tensor) -> Tensor:
        """What reaches each client of n_i `(m, b)`, yet to be negated: that of its sender, or zeros; n is given up."""
        if self.silent is not None:
            n.index_fill_(0, self.silent[i], 0)
        return n.index_select(0, self.routes[1][i])

    def draws(self, role: str, *labels: int) -> torch.Generator:
        """A generator for what else the exchange draws."""
        return rng.generator(self.seed, role, *labels)

    def blocks(self) -> Iterator[slice]:
        """Coordinates whose noise, for all clients, stays in a core's cache."""
        m, d = self.own.shape
        step = max(1, BLOCK_NUMBERS // m)
        return (slice(start, min(start + step, d)) for start in range(0, d, step))

    def legs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """(negated shares `(m, d)`, receivers `(m,)`) for i = 1 .. v."""
        for i in range(len(self.shifts)):
            yield -self.noise(i), self.receivers(i)

    def shares(self, client: int) -> Shares:
        """What `client` sent and got, from whom; every row as it travelled, that is negated noise."""
        sent, receivers, got, senders = [], [], [], []
        for messages, to in self.legs():
            source = int((to == client).nonzero())
            sent.append(messages[client])
            receivers.append(to[client])
            got.append(messages[source])
            senders.append(source)
        return Shares(torch.stack(sent), torch.stack(receivers), torch.stack(got), torch.tensor(senders))


def _column(argument: str, value: float | Tensor, num_clients: int, dtype: torch.dtype) -> Tensor:
    given = torch.as_tensor(value, dtype=dtype).detach()
    fits = given.dim() == 0 or given.shape == (num_clients,)
    require(fits, argument, f"of shape {tuple(given.shape)}", f"one value, or {num_clients}, one a client")
    values = given.expand(num_clients).unsqueeze(1)
    require(bool(torch.isfinite(values).all() and (values >= 0).all()), argument, value, "finite and not negative")
    return values
