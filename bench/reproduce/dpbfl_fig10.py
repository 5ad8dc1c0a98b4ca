"""DPBFL Fig. 10: DPBFL against LDPBFL over epsilon; points that no mechanism has are marked."""

import math
from dataclasses import dataclass

import numpy as np

from bench.privacy.papers.shuffle import robustness_bound, shuffle_epsilon
from bench.reproduce.dpbfl_table1 import settings
from bench.reproduce.drawing import grid_of, label, legend
from bench.reproduce.evidence import Evidence, Runs, column
from bench.reproduce.item import Exhibit, Form, Item, Judged, Statement, Verdict, judge
from leaderboards.estimates import Estimate
from leaderboards.looks import COLOURS, MARKERS
from leaderboards.plots import INK, png

B, DELTA = 0.2, 1e-6
EPSILONS = (0.1, 0.2, 0.3, 0.4, 0.6, 0.8, 0.95)
SCHEMES = ("dpbfl", "ldpbfl")
HIGHER = 1.0
RULE = (
    "infeasible as stated where the paper's sentence is about an epsilon at which Corollary 1 gives DPBFL a gamma of "
    "1 or more, which is no mechanism; the reason says whether the rest holds: at the points that exist with b below "
    f"the bound, DPBFL is above LDPBFL by more than {HIGHER:g} point at every n from 50,000 on, and by more at epsilon "
    "< 0.4 than above."
)


@dataclass(frozen=True)
class Point:
    """A scheme at an epsilon: its gamma and accuracy; no gamma where no mechanism exists, no accuracy if not run."""

    n: int
    scheme: str
    epsilon: float
    gamma: float | None
    found: Estimate | None

    @property
    def robust(self) -> bool:
        """Whether b = 20 % is below Definition 2's bound."""
        return self.gamma is not None and robustness_bound(self.gamma) > B

    def text(self) -> str:
        if self.gamma is None:
            return "no mechanism"
        return ("–" if self.found is None else self.found.text()) + ("" if self.robust else " (beyond the bound)")


def epsilon_of(n: int, gamma: float) -> float:
    """The grid's epsilon that has this gamma by Corollary 1."""
    return min(EPSILONS, key=lambda one: abs(one - shuffle_epsilon(n, gamma, DELTA)))


def points(runs: Runs) -> list[Point]:
    """Every scheme at every epsilon for the n of these runs."""
    n, place = runs.suite.federation.clients, column("sign_flip", B)
    results: dict[tuple[str, float], Point] = {}
    for cell in runs.cells:
        gamma = float(cell.defense.parameters["gamma"])
        scheme = cell.defense.name
        epsilon = epsilon_of(n, gamma) if scheme == "dpbfl" else math.log1p(3 * (1 - gamma) / gamma)
        epsilon = min(EPSILONS, key=lambda one: abs(one - epsilon))
        results[scheme, epsilon] = Point(n, scheme, epsilon, gamma, runs.accuracies.get((cell.label, place)))
    missing = [(scheme, epsilon) for scheme in SCHEMES for epsilon in EPSILONS if (scheme, epsilon) not in results]
    return [*results.values(), *(Point(n, scheme, epsilon, None, None) for scheme, epsilon in missing)]


def statements(found: list[Point]) -> list[Statement]:
    """What the paper says of the points that exist."""
    at = {(one.n, one.scheme, one.epsilon): one for one in found}
    said = []
    for n in sorted({one.n for one in found if one.n >= 50_000}):
        gains = {
            epsilon: 100 * (ours.found.mean - theirs.found.mean)
            for epsilon in EPSILONS
            if (ours := at[n, "dpbfl", epsilon]).robust and ours.found and (theirs := at[n, "ldpbfl", epsilon]).found
        }
        text = ", ".join(f"{gain:+.1f} at {epsilon:g}" for epsilon, gain in gains.items())
        small = [gain for epsilon, gain in gains.items() if epsilon < 0.4]
        large = [gain for epsilon, gain in gains.items() if epsilon >= 0.4]
        said += [
            Statement(f"DPBFL is above LDPBFL at n = {n:,}", min(gains.values()) > HIGHER, text),
            Statement(f"the more so at epsilon < 0.4 at n = {n:,}", bool(small) and max(small) > max(large), text),
        ]
    return said


def verdict(found: list[Point]) -> Judged:
    """The rule."""
    missing = [one.epsilon for one in found if one.n == 10_000 and one.scheme == "dpbfl" and one.gamma is None]
    said = statements(found)
    rest = judge(said) if said else Judged(Verdict.PENDING, "n = 50,000 and 100,000 are not run yet")
    if missing:
        text = ", ".join(f"{epsilon:g}" for epsilon in sorted(missing))
        return Judged(
            Verdict.INFEASIBLE,
            f"at n = 10,000 gamma is not below 1 at epsilon = {text}, and the paper compares there (D3); the rest: "
            f"{rest.verdict}, {rest.reason}",
        )
    return rest


def build(evidence: Evidence) -> Exhibit:
    by_suite = {name: points(runs) for name, runs in evidence.runs.items()}
    results = [one for mine in by_suite.values() for one in mine]
    at = {(one.n, one.scheme, one.epsilon): one for one in results}
    sizes = sorted({one.n for one in results})
    lines = [
        {"n": f"{n:,}", "scheme": scheme, **{f"epsilon = {e:g}": at[n, scheme, e].text() for e in EPSILONS}}
        for n in sizes
        for scheme in SCHEMES
    ]
    numbers = [
        {
            "n": one.n,
            "scheme": one.scheme,
            "epsilon": one.epsilon,
            "gamma": one.gamma,
            "below_bound": one.robust,
            "accuracy": None if one.found is None else 100 * one.found.mean,
            "half_width": None if one.found is None else 100 * one.found.half_width,
        }
        for one in sorted(results, key=lambda one: (one.n, one.scheme, one.epsilon))
    ]
    half = "; ".join(
        f"n = {n:,} at 0.3: DPBFL {at[n, 'dpbfl', 0.3].text()}, LDPBFL {at[n, 'ldpbfl', 0.3].text()}" for n in sizes
    )
    first = next(iter(evidence.runs.values()))
    return Exhibit(
        measured=f"{half}; {evidence.seeds}",
        settings=f"{settings(first)}, b = 20 % sign flips, delta = 1e-6, n = {', '.join(f'{n:,}' for n in sizes)}",
        judged=verdict(results),
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot(results, sizes),
        caption=(
            "Test accuracy of the last round in %. Epsilon is a coordinate's and a round's, and not the same promise: "
            "LDPBFL's needs no shuffler. Beyond the bound: 1 - 1 / (2 - gamma) is at most b."
        ),
    )


def _plot(found: list[Point], sizes: list[int]) -> bytes:
    from matplotlib.lines import Line2D

    figure, grid = grid_of(1, len(sizes))
    for axes, n in zip(grid[0], sizes, strict=True):
        axes.set_title(f"n = {n:,}", fontsize=9, color=INK, loc="left")
        for look, scheme in enumerate(SCHEMES):
            mine = sorted((one for one in found if (one.n, one.scheme) == (n, scheme)), key=lambda one: one.epsilon)
            run = [one for one in mine if one.found is not None]
            axes.plot([p.epsilon for p in run], [100 * p.found.mean for p in run if p.found], color=COLOURS[look], lw=1)
            for one in run:
                assert one.found is not None
                width = 100 * float(np.nan_to_num(one.found.half_width))
                face = COLOURS[look] if one.robust else "white"
                axes.errorbar(
                    one.epsilon,
                    100 * one.found.mean,
                    width,
                    color=COLOURS[look],
                    marker=MARKERS[look],
                    mfc=face,
                    ms=5.5,
                )
            gone = [one.epsilon for one in mine if one.gamma is None]
            axes.plot(gone, [0] * len(gone), color=COLOURS[look], marker="x", linestyle="none", markersize=7)
        axes.set(xlim=(0, 1), ylim=(-3, 103))
    label(grid, "epsilon of a coordinate and round", "test accuracy in %")
    more = {
        "open: beyond the bound": Line2D([], [], color=INK, marker="o", mfc="white", linestyle="none"),
        "x: no mechanism": Line2D([], [], color=INK, marker="x", linestyle="none"),
    }
    legend(figure, SCHEMES, more=more)
    return png(figure)


N10, N50, N100 = (f"dpbfl-fig10-n{n}" for n in (10_000, 50_000, 100_000))
ITEMS = (
    Item(
        "dpbfl-fig10",
        "dpbfl",
        "Fig. 10: DPBFL against LDPBFL",
        RULE,
        (
            Form("in full", (N10, N50, N100), heavy=True),
            Form("n = 10,000 and 50,000", (N10, N50), heavy=True),
            Form("n = 10,000", (N10,), heavy=True),
        ),
        build,
    ),
)
