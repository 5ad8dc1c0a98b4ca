"""Experiments on NISS's exchange of noise: what the server's sum keeps, and what colluders leave of an upload."""

from typing import Any

import torch
from torch import Tensor

from bench.base import rng
from bench.reproduce.measurements import Experiment, Point

CLIENTS, DIM, SEEDS = 31, 1500, 8
SHARES = (1, 10, 30)
TAUS = (0.0, 0.3, 0.6, 1.0)
COLLUSION = {0.0: (0.0, 0.6), 0.3: (0.0, 0.6), 0.6: (0.0, 0.2, 0.6), 0.8: (0.2, 0.6), 1.0: (0.6, 1.0)}
"""tau^2 by rho; max(0, 2 rho - 1) is among them."""
WORST_DIM = 7850
Scales = ("coordinate", "share")


def sum_points() -> tuple[Point, ...]:
    """All clients alike; shares of variance sigma_k^2 / v, and once as Algorithm 2 prints them, of sigma_k^2 (N1)."""
    alike = tuple(
        {"shares": v, "tau_squared": tau, "share_variance": 1 / v, "clients": CLIENTS, "dim": DIM}
        for v in SHARES
        for tau in TAUS
    )
    printed = tuple({**point, "share_variance": 1.0} for point in alike if point["shares"] == 10)
    return alike + printed


def measure_sum(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Variance of the server's sum and of one upload, sigma_k^2 = 1, mean over coordinates and clients."""
    from defenses.niss import exchange

    generator = rng.generator(seed, "niss sum", *map(str, point.values()))
    variance = point["share_variance"] * point["shares"]
    noise = exchange(CLIENTS, DIM, variance, point["shares"], point["tau_squared"], generator, dtype=torch.float64)
    return {"sum": float(noise.upload.sum(dim=0).square().mean()), "upload": float(noise.upload.square().mean())}


def unequal_points() -> tuple[Point, ...]:
    """sigma_k^2 and tau_k^2 by turns: the larger noise with tau = 0, or one of the two common to all (N8)."""
    return tuple(
        {"sigma_squared": sigma, "tau_squared": tau, "shares": 10, "clients": 30, "dim": DIM}
        for sigma, tau in (([1.0, 4.0], [1.0, 0.0]), ([1.0, 4.0], [0.5]), ([2.0], [0.0, 1.0]))
    )


def measure_unequal(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """The variance of the sum beside Theorem 2's as printed, and with tau_l^2 of each share's receiver."""
    from defenses.niss import exchange

    m, v = point["clients"], point["shares"]
    sigma, tau = (
        torch.tensor(point[name], dtype=torch.float64)[torch.arange(m) % len(point[name])]
        for name in ("sigma_squared", "tau_squared")
    )
    generator = rng.generator(seed, "niss unequal", str(point["sigma_squared"]), str(point["tau_squared"]))
    noise = exchange(m, point["dim"], sigma, v, tau, generator, dtype=torch.float64)
    received = torch.stack([tau[noise.receivers(i)] for i in range(v)])
    return {
        "sum": float(noise.upload.sum(dim=0).square().mean()),
        "printed": float((sigma * tau).sum()),
        "corrected": float((sigma * received.mean(dim=0)).sum()),
    }


def collusion_points() -> tuple[Point, ...]:
    return tuple(
        {"rho": rho, "tau_squared": tau, "shares": v, "scale": scale, "clients": CLIENTS, "dim": DIM}
        for scale in Scales
        for v in (30, 10)
        for rho, taus in COLLUSION.items()
        for tau in taus
    )


def measure_collusion(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Variance of what is left of an upload's noise, sigma_k^2 = 1, over all clients as targets.

    Colluders take out the shares that the target sent them and the mean of what they sent; where s is one number a
    share, they also take out the span of the shares that they sent (N2).
    """
    from attacks.subspace import project_out
    from bench.threat import choose_colluders
    from defenses.niss import exchange

    m = point["clients"]
    generator = rng.generator(seed, "niss collusion", *map(str, point.values()))
    noise = exchange(
        m,
        point["dim"],
        1.0,
        point["shares"],
        point["tau_squared"],
        generator,
        scale=point["scale"],
        dtype=torch.float64,
    )
    everyone = torch.arange(m)
    colluding = choose_colluders(m, everyone, point["rho"], generator)
    left, known = noise.upload.clone(), []
    for share, receivers in noise.legs():
        senders = receivers.argsort()
        got = share[senders] * colluding.gather(1, senders.unsqueeze(1))
        left += share * colluding.gather(1, receivers.unsqueeze(1)) - got
        known.append(got)
    if point["scale"] == "share":
        left = project_out(left, torch.stack(known, dim=1))
    inside = point["shares"] * point["rho"] if point["scale"] == "share" else 0.0
    return {"left": float(left.square().mean()), "directions": 1 - inside / point["dim"]}


def worst_points() -> tuple[Point, ...]:
    return tuple({"shares": v, "dim": WORST_DIM} for v in (7, 20, 29))


def measure_worst(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """At rho = 1 and tau^2 = 1, what is left in the worst coordinate, and the share of coordinates below sigma_k^2.

    The colluders know every r_i; given them, what is left has variance tau^2 sum of r_i^2.
    """
    from defenses.niss import exchange

    generator = rng.generator(seed, "niss worst", point["shares"])
    noise = exchange(30, point["dim"], 1.0, point["shares"], 1.0, generator, dtype=torch.float64)
    squares: Tensor = noise.own.new_zeros(30, point["dim"])
    for share, receivers in noise.legs():
        squares += share[receivers.argsort()].square()
    target = squares[0]
    return {"worst": float(target.min()), "below": float((target < 1).double().mean())}


def dropout_points() -> tuple[Point, ...]:
    return tuple({"dropouts": d, "shares": 10, "clients": 30, "dim": DIM} for d in (0, 1, 3))


def measure_dropout(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Variance of the sum where some clients exchange and never upload, at tau^2 = 0 and sigma_k^2 = 1 (N9)."""
    from defenses.niss import exchange

    generator = rng.generator(seed, "niss dropout", point["dropouts"])
    noise = exchange(point["clients"], point["dim"], 1.0, point["shares"], 0.0, generator, dtype=torch.float64)
    gone = rng.shuffled(point["clients"], generator)[: point["dropouts"]]
    arrived = torch.ones(point["clients"], dtype=torch.bool)
    arrived[gone] = False
    return {"sum": float(noise.upload[arrived].sum(dim=0).square().mean())}


_SEEDS = tuple(range(SEEDS))
SUM = Experiment("niss-sum", measure_sum, sum_points, _SEEDS)
UNEQUAL = Experiment("niss-unequal", measure_unequal, unequal_points, _SEEDS)
COLLUDE = Experiment("niss-collusion", measure_collusion, collusion_points, _SEEDS)
WORST = Experiment("niss-worst-coordinate", measure_worst, worst_points, _SEEDS)
DROPOUT = Experiment("niss-dropout", measure_dropout, dropout_points, _SEEDS)
