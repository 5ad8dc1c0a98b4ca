"""DPBFL Theorems 2 and 3: the error of the shuffle sum, measured, against the bounds and the exact variance (D10)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from matplotlib.axes import Axes

from bench.base import rng
from bench.privacy.papers.shuffle import analyzer_variance, shuffle_gamma
from bench.reproduce.drawing import grid_of, label
from bench.reproduce.evidence import Evidence
from bench.reproduce.intervals import FALSE_ALARM, Mean, mean_of, upper_share
from bench.reproduce.item import Exhibit, Form, Item, Judged, Line, Verdict
from bench.reproduce.measurements import Experiment, Point
from leaderboards.looks import COLOURS
from leaderboards.plots import INK, LEGEND_TEXT, png

DELTA = 1e-6
SUM, TAIL = "dpbfl-theorem2", "dpbfl-theorem3"
SIZES = {1000: (0.8, 0.9, 0.97), 10_000: (0.26, 0.3, 0.35, 0.4, 0.6, 0.95)}
"""Epsilons in (0, 1) at which Corollary 1 gives a gamma below 1, by n."""
COORDINATES, SEEDS = 500, 6
TAIL_EPSILONS, BETAS, DRAWS = (0.4, 0.6, 0.95), (0.5, 0.1, 0.01), 200_000
HALF = 0.5
SUM_RULE = (
    "the measured error must be D10's exact variance at every point (at a false-alarm rate of 0.001 for all "
    "together). Reproduced where its ratio to log(1 / delta) / epsilon^2 stays below the largest one that gamma <= "
    "1/2 allows at every point, so that one constant serves; in shape where it does so for gamma <= 1/2 alone; else "
    "not reproduced."
)
TAIL_RULE = (
    "reproduced where at every point the upper end of the Clopper-Pearson interval (at a false-alarm rate of 0.001 "
    "for all together) of the share of sums beyond the threshold is below beta; else not reproduced."
)


def sum_points() -> tuple[Point, ...]:
    """All signs 1, where the noise is largest, and all 0."""
    return tuple(
        {"n": n, "epsilon": epsilon, "nonzero": nonzero, "coordinates": COORDINATES}
        for n, epsilons in SIZES.items()
        for epsilon in epsilons
        for nonzero in (n, 0)
    )


def measure_sum(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Mean squared error and mean error of the analyzer over coordinates; messages are randomized and shuffled."""
    from defenses.dpbfl import analyze, randomize, shuffle

    n, gamma = point["n"], shuffle_gamma(point["n"], point["epsilon"], DELTA)
    generator = rng.generator(seed, SUM, n, str(point["epsilon"]), point["nonzero"])
    signs = torch.zeros(n, point["coordinates"], dtype=torch.int8)
    signs[: point["nonzero"]] = 1
    z = analyze(shuffle(randomize(signs, gamma, generator), generator), gamma).double()
    error = z - point["nonzero"]
    return {"gamma": gamma, "mse": float(error.square().mean()), "bias": float(error.mean())}


def tail_points() -> tuple[Point, ...]:
    return tuple({"n": 10_000, "epsilon": epsilon, "draws": DRAWS, "betas": list(BETAS)} for epsilon in TAIL_EPSILONS)


def measure_tail(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """How many sums, drawn from their exact distribution, are off by more than the threshold of each beta."""
    from bench.privacy.papers.drawn_votes import randomized_sum
    from defenses.dpbfl import analyze

    n, gamma = point["n"], shuffle_gamma(point["n"], point["epsilon"], DELTA)
    generator = rng.generator(seed, TAIL, n, str(point["epsilon"]))
    counts = torch.zeros(2, point["draws"], dtype=torch.float64)
    counts[0] = n
    z = analyze(randomized_sum(counts, n, gamma, generator).unsqueeze(0), gamma)
    error = (z - n).abs()
    thresholds = {beta: threshold(point["epsilon"], beta) for beta in point["betas"]}
    return {
        "gamma": gamma,
        "beyond": {str(beta): int((error > limit).sum()) for beta, limit in thresholds.items()},
        "quantile": {str(beta): float(error.quantile(1 - beta)) for beta in thresholds},
    }


def threshold(epsilon: float, beta: float, delta: float = DELTA) -> float:
    """Theorem 3's (6 / epsilon) sqrt(22 log(2 / delta) log(2 / beta))."""
    return 6 / epsilon * math.sqrt(22 * math.log(2 / delta) * math.log(2 / beta))


def constant(mse: float, epsilon: float, delta: float = DELTA) -> float:
    """What Theorem 2's O() hides: the error over log(1 / delta) / epsilon^2."""
    return mse * epsilon**2 / math.log(1 / delta)


def largest_constant(n: int) -> float:
    """The exact variance's at gamma = 1/2, where all signs are 1."""
    epsilon = math.sqrt(42 * math.log(2 / DELTA) / ((n - 1) * HALF))
    return constant(analyzer_variance(n, n, HALF), epsilon)


def sum_verdict(found: Sequence[tuple[Point, float, Mean]]) -> Judged:
    """The rule, on (point, gamma, measured error)."""
    off = [(p, g) for p, g, mse in found if not mse.agrees(analyzer_variance(p["n"], p["nonzero"], g), len(found))]
    if off:
        return Judged(Verdict.NOT, f"{len(off)} of {len(found)} points are not the exact variance")
    constants = [(gamma, constant(mse.value, p["epsilon"]) / largest_constant(p["n"])) for p, gamma, mse in found]
    fine = [share <= 1 for gamma, share in constants if gamma <= HALF]
    beyond = [(gamma, share) for gamma, share in constants if gamma > HALF and share > 1]
    if all(fine) and not beyond:
        return Judged(Verdict.REPRODUCED, "one constant serves all points")
    if all(fine):
        gamma, share = max(beyond, key=lambda pair: pair[1])
        return Judged(
            Verdict.SHAPE,
            f"exact variance at all {len(found)} points; one constant serves gamma <= 1/2, and is exceeded "
            f"{share:.0f} times at gamma = {gamma:.2f}, which the theorem allows: (1 - gamma)^-2 is missing in it",
        )
    return Judged(Verdict.NOT, "the error grows faster than log(1 / delta) / epsilon^2")


def build_sum(evidence: Evidence) -> Exhibit:
    results: list[tuple[Point, float, Mean]] = [
        (one.point, one.values[0]["gamma"], mean_of(one.each("mse"))) for one in evidence.measured[SUM]
    ]
    lines: list[Line] = [
        {
            "n": f"{p['n']:,}",
            "epsilon": f"{p['epsilon']:g}",
            "gamma": f"{gamma:.3f}",
            "signs": "all 1" if p["nonzero"] else "all 0",
            "mean squared error": mse.text(0),
            "exact (D10)": f"{analyzer_variance(p['n'], p['nonzero'], gamma):.0f}",
            "log(1 / delta) / epsilon^2": f"{math.log(1 / DELTA) / p['epsilon'] ** 2:.1f}",
            "constant": f"{constant(mse.value, p['epsilon']):.0f}",
        }
        for p, gamma, mse in results
    ]
    ones = [(gamma, constant(mse.value, p["epsilon"])) for p, gamma, mse in results if p["nonzero"]]
    least, most = min(ones), max(ones)
    return Exhibit(
        measured=f"constant {least[1]:.0f} at gamma = {least[0]:.2f} to {most[1]:.0f} at {most[0]:.2f}; {SEEDS} seeds",
        settings=(
            f"delta = 1e-6, gamma by Corollary 1, {COORDINATES} coordinates of real messages a seed, {SEEDS} seeds"
        ),
        judged=sum_verdict(results),
        lines=lines,
        numbers=[
            {
                **p,
                "gamma": gamma,
                "mse": mse.value,
                "half_width": mse.half_width(),
                "exact": analyzer_variance(p["n"], p["nonzero"], gamma),
            }
            for p, gamma, mse in results
        ],
        plot=lambda: _plot_sum(results),
        caption="The constant is the error over Theorem 2's term. Its condition is met by every gamma below 1.",
    )


def _plot_sum(found: Sequence[tuple[Point, float, Mean]]) -> bytes:
    figure, grid = grid_of(1, 1, height=3.0, width=4.4)
    axes: Axes = grid[0][0]
    gammas = [at / 200 for at in range(10, 196)]
    for look, n in enumerate(SIZES):
        mine = [(gamma, mse, p["epsilon"]) for p, gamma, mse in found if p["n"] == n and p["nonzero"]]
        axes.errorbar(
            [gamma for gamma, _, _ in mine],
            [constant(mse.value, epsilon) for _, mse, epsilon in mine],
            [constant(mse.half_width(), epsilon) for _, mse, epsilon in mine],
            color=COLOURS[look], marker="o", linestyle="none", capsize=2, label=f"measured, n = {n:,}",
        )  # fmt: skip
    epsilon = [math.sqrt(42 * math.log(2 / DELTA) / (9999 * gamma)) for gamma in gammas]
    exact = [constant(analyzer_variance(10_000, 10_000, g), e) for g, e in zip(gammas, epsilon, strict=True)]
    axes.plot(gammas, exact, color=INK, linewidth=1, label="exact (D10)")
    axes.axvline(HALF, color=INK, linewidth=0.9, linestyle=":")
    axes.set_yscale("log")
    label(grid, "gamma", "mean squared error /\n(log(1 / delta) / epsilon^2)")
    figure.legend(loc="outside right upper", **LEGEND_TEXT)
    return png(figure)


def tail_verdict(found: Sequence[tuple[float, int, int]]) -> Judged:
    """The rule, on (beta, sums beyond the threshold, sums)."""
    level = 1 - FALSE_ALARM / len(found)
    broken = [beta for beta, hits, draws in found if upper_share(hits, draws, level) >= beta]
    if broken:
        return Judged(Verdict.NOT, f"{len(broken)} of {len(found)} points have more beyond the threshold than beta")
    hits = sum(count for _, count, _ in found)
    return Judged(Verdict.REPRODUCED, f"at all {len(found)} points, with room: {hits} sums of all lie beyond")


def build_tail(evidence: Evidence) -> Exhibit:
    rows = [
        (one.point, beta, one.only["beyond"][str(beta)], one.only["quantile"][str(beta)])
        for one in evidence.measured[TAIL]
        for beta in one.point["betas"]
    ]
    slack = [threshold(point["epsilon"], beta) / quantile for point, beta, _, quantile in rows]
    lines = [
        {
            "epsilon": f"{point['epsilon']:g}",
            "beta": f"{beta:g}",
            "threshold": f"{threshold(point['epsilon'], beta):.0f}",
            "beyond it": f"{hits} of {point['draws']:,}",
            "measured quantile 1 - beta": f"{quantile:.0f}",
            "threshold / quantile": f"{share:.2f}",
        }
        for (point, beta, hits, quantile), share in zip(rows, slack, strict=True)
    ]
    return Exhibit(
        measured=f"the threshold is {min(slack):.1f} to {max(slack):.1f} times the measured quantile",
        settings=f"n = 10,000, all signs 1, delta = 1e-6, gamma <= 1/2 as the theorem asks, {DRAWS:,} sums a point",
        judged=tail_verdict([(beta, hits, point["draws"]) for point, beta, hits, _ in rows]),
        lines=lines,
        numbers=[
            {
                "epsilon": point["epsilon"],
                "beta": beta,
                "threshold": threshold(point["epsilon"], beta),
                "beyond": hits,
                "draws": point["draws"],
                "quantile": quantile,
            }
            for point, beta, hits, quantile in rows
        ],
        plot=lambda: _plot_tail(rows),
        caption="Sums are drawn from their exact distribution, which the tests compare with real messages.",
    )


def _plot_tail(rows: Sequence[tuple[Any, float, int, float]]) -> bytes:
    figure, grid = grid_of(1, 1, height=2.8, width=4.2)
    axes: Axes = grid[0][0]
    for look, epsilon in enumerate(TAIL_EPSILONS):
        mine = [(beta, quantile) for point, beta, _, quantile in rows if point["epsilon"] == epsilon]
        betas = [beta for beta, _ in mine]
        axes.plot(
            betas, [q for _, q in mine], "o-", color=COLOURS[look], lw=1, label=f"measured, epsilon = {epsilon:g}"
        )
        axes.plot(
            betas,
            [threshold(epsilon, beta) for beta in betas],
            "*--",
            color=COLOURS[look],
            lw=1,
            label=f"Theorem 3, {epsilon:g}",
        )
    axes.set(xscale="log", yscale="log")
    label(grid, "beta", "error of the sum, quantile 1 - beta")
    figure.legend(loc="outside right upper", **LEGEND_TEXT)
    return png(figure)


ITEMS = (
    Item(
        SUM,
        "dpbfl",
        "Theorem 2: mean squared error of the shuffle sum",
        SUM_RULE,
        (Form("in full", experiments=(Experiment(SUM, measure_sum, sum_points, tuple(range(SEEDS))),)),),
        build_sum,
    ),
    Item(
        TAIL,
        "dpbfl",
        "Theorem 3: tails of the shuffle sum",
        TAIL_RULE,
        (Form("in full", experiments=(Experiment(TAIL, measure_tail, tail_points),)),),
        build_tail,
    ),
)
