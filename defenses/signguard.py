"""SignGuard (Xu et al. 2022): the mean of those whose lengths and whose shares of signs are like most clients' own.

Two filters, both of which a message has to pass. Its length is between 0.1 and 3 times the median length. In a tenth of
the coordinates, drawn each round, count the shares of positive, zero and negative entries, each over the largest share
of any client: mean shift finds clusters of these, and the largest one passes. ALIE forges entries that are each within
the spread of the honest ones, but their signs are too much alike. What passes is clipped to the median length.

From the authors' code (JianXu95/SignGuard, `aggregators/signguard.py`); of the paper the abstract was at hand. Its
variants that also compare directions, SignGuard-Sim and SignGuard-Dist, are not here.
"""

import math

import torch
from pydantic import Field
from torch import Tensor

from bench.base.elementary import distances, sqrt
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, check_detached, check_finite, check_messages
from bench.registry import register
from bench.rules import apply_weights, norms_of

TINY = 1e-8
"""Added to the largest share, as in the authors' code: where no entry is zero no client has any."""

SETTLED, MOST_STEPS = 1e-3, 300
"""A mean that moves by no more of the bandwidth stands still; steps at most. Both as in scikit-learn."""


def sign_shares(messages: Tensor) -> Tensor:
    """Shares `(n, 3)`, float64, of positive, zero and negative entries of `(n, d)`, each over its largest."""
    check_messages(messages)
    signs = torch.sign(messages)
    shares = torch.stack([(signs == sign).double().mean(dim=1) for sign in (1, 0, -1)], dim=1)
    return shares / (shares.max(dim=0).values + TINY)


def bandwidth(points: Tensor) -> float:
    """How far on average the n / 2 points nearest to a point of `(n, k)` reach, the point itself among them."""
    _check_points(points)
    nearest = distances(points, points).sort(dim=1).values
    return float(nearest[:, max(1, len(points) // 2) - 1].mean())


def mean_shift(points: Tensor, width: float) -> Tensor:
    """Clusters of `points (n, k)`, `(n,)` from 0 on, the densest first; -1 where no centre is within the width.

    Every seed moves to the mean of the points within the width until it stands (Comaniciu and Meer 2002). Seeds are the
    occupied cells of a grid of that width. Of centres within the width of each other the one with more points stays.
    Raises `ValueError` unless the width is positive and finite.
    """
    _check_points(points)
    require(0 < width < math.inf, "width", width, "positive and finite")
    cells = (points / width).round().unique(dim=0)
    seeds = points if len(cells) == len(points) else cells * width
    results = sorted({_settled(seed, points, width) for seed in seeds}, reverse=True)
    centres = torch.tensor([centre for _, centre in results], dtype=points.dtype)
    stays: list[int] = []
    for place, centre in enumerate(centres):
        if not stays or bool((distances(centre[None], centres[stays]) > width).all()):
            stays.append(place)
    apart, nearest = distances(points, centres[stays]).min(dim=1)
    return torch.where(apart <= width, nearest, -1)


def _settled(seed: Tensor, points: Tensor, width: float) -> tuple[int, tuple[float, ...]]:
    """How many points are around the place where a seed comes to stand, and that place."""
    within = distances(seed[None], points)[0] <= width
    for _ in range(MOST_STEPS + 1):
        moved = points[within].mean(dim=0)
        step = float(sqrt((moved - seed).square().sum()))
        count, seed = int(within.sum()), moved
        if step <= SETTLED * width:
            break
        within = distances(seed[None], points)[0] <= width
    return count, tuple(seed.tolist())


def largest_cluster(points: Tensor) -> Tensor:
    """Who of `points (n, k)` is in the largest cluster by mean shift, `(n,)` bool; fewer than four are one.

    Where so many points are the same that the bandwidth is 0, clusters are of equal points.
    """
    width = bandwidth(points)
    if len(points) < 4:
        return torch.ones(len(points), dtype=torch.bool, device=points.device)
    labels = mean_shift(points, width) if width > 0 else points.unique(dim=0, return_inverse=True)[1]
    return labels == labels[labels >= 0].bincount().argmax()


def signguard(
    messages: Tensor, generator: torch.Generator, *, low: float = 0.1, high: float = 3.0, coordinates: float = 0.1
) -> Tensor:
    """The mean `(d,)` of the messages `(n, d)` that pass both filters, clipped to the median length; else zeros.

    The lower and upper bound on a length are `low` and `high` medians; `coordinates` is the share of them that counts,
    next to each other from a random place on. Zeros where nobody passes.
    Raises `ValueError` unless 0 <= low < high, the share is above 0 and at most 1, and the messages are finite.
    """
    check_messages(messages)
    require(0 <= low < high < math.inf, "low", low, f"at least 0 and below high, {high:g}, which is finite")
    require(0 < coordinates <= 1, "coordinates", coordinates, "above 0 and at most 1")
    norms, d = norms_of(messages), messages.shape[1]
    middle = norms.quantile(0.5)
    passed = (norms > low * middle) & (norms < high * middle)
    size = max(1, int(coordinates * d))
    start = int(torch.randint(max(1, d - size), (), generator=generator, device=generator.device))
    passed &= largest_cluster(sign_shares(messages[:, start : start + size])).to(passed.device)
    if not bool(passed.any()):
        return torch.zeros_like(messages[0])
    bound = norms.median()  # of an even count the lower one, as in the authors' code
    scale = torch.where(norms > bound, bound / norms, 1.0)
    return apply_weights(torch.where(passed, scale, 0.0) / passed.sum(), messages)


def _check_points(points: Tensor) -> None:
    require(points.dim() == 2 and points.numel() > 0, "points", tuple(points.shape), "a non-empty (n, k) tensor")
    require(points.dtype == torch.float64, "points", points.dtype, "float64")
    check_detached(points, "points")
    check_finite(points, "points")


@register("defense", "signguard")
class SignGuard(Defense):
    """SignGuard; it needs no number of Byzantine clients, and an honest majority for its medians and its cluster."""

    breakdown = 0.5

    low: float = Field(default=0.1, ge=0)  # L
    high: float = Field(default=3.0, gt=0)  # R
    coordinates: float = Field(default=0.1, gt=0, le=1)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + signguard(delivered.messages, server.generator, **self.model_dump())
