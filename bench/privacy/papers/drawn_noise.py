"""NISS: the noise that is left in the server's sum, drawn there. Apart from its package's rest: it needs torch."""

import numpy as np
import torch
from torch import Tensor

from bench.base.device import on_gpu
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.base.rng import shuffled

NORMALS_AT_ONCE = 2**26
"""Drawn on a GPU for its sums of squares: half a gigabyte of them."""


def niss_drawn_noise(
    *,
    dim: int,
    num_honest: int,
    num_clients: int,
    share_variance: float,
    num_shares: int,
    tau_squared: float,
    per_share: bool,
    generator: torch.Generator,
) -> Tensor:
    """The noise `(dim,)` in the sum of the honest clients' uploads, float64, without drawing their shares.

    Shares travel on NISS's random circle; `num_clients - num_honest` clients exchange like the rest and then forge
    their upload, so that the honest ends of their shares stay in the sum. Over the edges k -> l with noise n the honest
    upload n at k and -(1 + tau z) n at l, z ~ N(0, 1), for each coordinate or, with `per_share`, once.
    """
    require(num_clients >= 2, "num_clients", num_clients, "at least 2")
    require(0 <= num_honest <= num_clients, "num_honest", num_honest, f"between 0 and {num_clients}")
    require(1 <= num_shares <= num_clients - 1, "num_shares", num_shares, f"between 1 and {num_clients - 1}")
    require(dim >= 1, "dim", dim, "at least 1")
    require(0 <= share_variance < np.inf, "share_variance", share_variance, "finite and at least 0")
    require(0 <= tau_squared < np.inf, "tau_squared", tau_squared, "finite and at least 0")
    crossing = _crossing_edges(num_honest, num_clients, num_shares, generator)
    received = num_honest * num_shares  # edges into honest clients; `crossing` of them come from the others
    g, kept, z = torch.randn(3, dim, generator=generator, dtype=torch.float64)
    kept *= (crossing * share_variance) ** 0.5  # n of honest clients whose receiver's upload is forged
    if per_share:
        factors = tau_squared**0.5 * torch.randn(received, generator=generator, dtype=torch.float64)
        inside, across = factors[crossing:].square().sum(), (1 + factors[:crossing]).square().sum()
        noise: Tensor = kept + sqrt(share_variance * (inside + across)) * z
        return noise
    g *= (crossing * share_variance) ** 0.5  # the sum of the n that came from the others
    rest = _chi_squared(received - (crossing > 0), dim, generator) * share_variance
    squares = rest + g.square() / max(crossing, 1)  # the sum of n^2 into honest clients (Cochran's theorem)
    total: Tensor = kept - g + sqrt(tau_squared * squares) * z
    return total


def _crossing_edges(num_honest: int, num_clients: int, num_shares: int, generator: torch.Generator) -> int:
    """How many shares go from honest clients to the others on a random circle; as many come back."""
    honest = shuffled(num_clients, generator) < num_honest
    shifts = 1 + shuffled(num_clients - 1, generator)[:num_shares]
    return sum(int((honest & ~honest.roll(-int(shift))).sum()) for shift in shifts)


def _chi_squared(degrees: int, dim: int, generator: torch.Generator) -> Tensor:
    """`(dim,)` draws of the chi-squared distribution; torch's own sampler for it takes no generator."""
    if on_gpu(generator):
        return _sum_of_squares(degrees, dim, generator)
    seed = int(torch.randint(2**62, (1,), generator=generator))
    draws = np.random.default_rng(seed).chisquare(degrees, dim) if degrees else np.zeros(dim)
    return torch.from_numpy(draws)


def _sum_of_squares(degrees: int, dim: int, generator: torch.Generator) -> Tensor:
    """The same by its definition, some normal draws at a time: on a GPU faster than to leave it."""
    total = torch.zeros(dim, dtype=torch.float64)
    step = max(1, NORMALS_AT_ONCE // dim)
    for first in range(0, degrees, step):
        count = min(step, degrees - first)
        total += torch.randn(count, dim, generator=generator, dtype=torch.float64).square_().sum(dim=0)
    return total
