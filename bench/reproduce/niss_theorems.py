"""NISS Theorems 2 and 3: measured variances beside the printed statements and the corrected ones."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.privacy.papers.noise_sharing import (
    niss_aggregate_variance,
    niss_collusion_variance,
    niss_min_tau_squared,
    niss_worst_coordinate,
)
from bench.reproduce.drawing import grid_of, label, points
from bench.reproduce.evidence import Evidence
from bench.reproduce.intervals import Mean, mean_of
from bench.reproduce.item import Exhibit, Form, Item, Judged, Line, Number, Verdict
from bench.reproduce.niss_noise import COLLUDE, DROPOUT, SEEDS, SUM, UNEQUAL, WORST
from leaderboards.looks import COLOURS
from leaderboards.plots import INK, LEGEND_TEXT, png

RULE_2 = (
    "reproduced where the measured variance agrees with the printed sum at every point, clients alike or not; in "
    "shape where it does for clients that are alike, and with the corrected statement (N1, N8, N9) everywhere; else "
    "not reproduced. Points agree at a false-alarm rate of 0.001 for all of a statement together."
)
RULE_3 = (
    "reproduced where what is left agrees with the printed variance, and is at least sigma_k^2 at tau^2 = max(2 rho - "
    "1, 0), for s drawn per share, as printed, and per coordinate; in shape where it does per coordinate and agrees "
    "with the corrected variance (N3) per share; else not reproduced. Points agree at a false-alarm rate of 0.001 "
    "together."
)
NOTHING = "–"


@dataclass(frozen=True)
class Check:
    """A measured variance, in units of sigma_k^2, beside the printed prediction and the corrected one."""

    what: str
    measured: Mean
    printed: float | None  # None where the paper is silent
    corrected: float
    about: str = ""

    def line(self, total: int) -> Line:
        return {
            "what": self.what,
            "measured": self.measured.text(),
            "printed": NOTHING if self.printed is None else f"{self.printed:.3f}",
            "printed holds": NOTHING if self.printed is None else _yes(self.measured.agrees(self.printed, total)),
            "corrected": f"{self.corrected:.3f}",
            "corrected holds": _yes(self.measured.agrees(self.corrected, total)),
            "errata": self.about,
        }

    def number(self) -> Number:
        return {
            "what": self.what,
            "measured": self.measured.value,
            "half_width": self.measured.half_width(),
            "printed": self.printed,
            "corrected": self.corrected,
        }


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _means(evidence: Evidence, name: str, field: str) -> list[tuple[Mapping[str, Any], Mean]]:
    return [(one.point, mean_of(one.each(field))) for one in evidence.measured[name]]


def checks_2(evidence: Evidence) -> tuple[list[Check], list[Check]]:
    """Those of clients alike, the theorem's own case, and the others."""
    alike, other = [], []
    for point, result in _means(evidence, SUM.name, "sum"):
        m, v, tau = point["clients"], point["shares"], point["tau_squared"]
        theorem = niss_aggregate_variance(np.ones(m), tau)
        if point["share_variance"] == 1 / v:
            alike.append(Check(f"sum of {m}, v = {v}, tau^2 = {tau:g}", result, theorem, theorem))
        else:
            what = f"sum of {m}, v = {v}, tau^2 = {tau:g}, shares of variance sigma_k^2"
            other.append(Check(what, result, theorem, v * theorem, "N1"))
    for point, result in _means(evidence, SUM.name, "upload"):
        v, tau = point["shares"], point["tau_squared"]
        if point["share_variance"] != 1 / v:
            what = f"one upload, v = {v}, tau^2 = {tau:g}, shares of variance sigma_k^2"
            other.append(Check(what, result, 2 + tau, v * (2 + tau), "N1"))
    for unequal in evidence.measured[UNEQUAL.name]:
        point = unequal.point
        measured = mean_of([one["sum"] / one["corrected"] for one in unequal.values])
        printed = float(np.mean([one["printed"] / one["corrected"] for one in unequal.values]))
        what = f"sum over corrected, sigma^2 in {point['sigma_squared']}, tau^2 in {point['tau_squared']}"
        other.append(Check(what, measured, printed, 1.0, "N8"))
    for point, result in _means(evidence, DROPOUT.name, "sum"):
        m, d = point["clients"], point["dropouts"]
        other.append(Check(f"sum of {m}, tau^2 = 0, {d} never upload", result, None, 2 * d * (m - d) / (m - 1), "N9"))
    return alike, other


def verdict_2(alike: Sequence[Check], other: Sequence[Check]) -> Judged:
    """The rule."""
    everything = [*alike, *other]
    total = len(everything)
    corrected = [one for one in everything if one.measured.agrees(one.corrected, total)]
    printed = [one for one in everything if one.printed is not None and one.measured.agrees(one.printed, total)]
    asked = sum(one.printed is not None for one in everything)
    text = f"printed holds at {len(printed)} of {asked} points, corrected at {len(corrected)} of {total}"
    if len(printed) == asked:
        return Judged(Verdict.REPRODUCED, text)
    if len(corrected) == total and all(one in printed for one in alike):
        others = sorted({one.about for one in other if one.printed is not None and one not in printed})
        return Judged(
            Verdict.SHAPE,
            f"{text}; all {len(alike)} points of clients alike hold as printed, {', '.join(others)} do not",
        )
    return Judged(Verdict.NOT, text)


def build_2(evidence: Evidence) -> Exhibit:
    alike, other = checks_2(evidence)
    everything = [*alike, *other]
    at_one = next(one for one in alike if "v = 10, tau^2 = 1" in one.what)
    return Exhibit(
        measured=f"{at_one.what}: {at_one.measured.text()} for {at_one.corrected:g}; {verdict_2(alike, other).reason}",
        settings=f"float64 exchanges of 28 to 31 clients, {SEEDS} seeds, s per coordinate, sigma_k^2 = 1 unless said",
        judged=verdict_2(alike, other),
        lines=[one.line(len(everything)) for one in everything],
        numbers=[one.number() for one in everything],
        plot=lambda: _plot_2(evidence),
        caption=(
            "In units of sigma_k^2; mean and 95 % t interval over the seeds. N1: Algorithm 2 prints shares of "
            "variance sigma_k^2, and the theorem needs sigma_k^2 / v. N8: the receiver's tau^2 counts. N9: the paper "
            "is silent."
        ),
    )


def _plot_2(evidence: Evidence) -> bytes:
    figure, grid = grid_of(1, 1, height=2.8, width=4.2)
    axes = grid[0][0]
    results = [(p, mean) for p, mean in _means(evidence, SUM.name, "sum") if p["share_variance"] == 1 / p["shares"]]
    for look, v in enumerate(sorted({point["shares"] for point, _ in results})):
        mine = [(point["tau_squared"] + 0.012 * (look - 1), mean) for point, mean in results if point["shares"] == v]
        reach = [mean.half_width() for _, mean in mine]
        points(axes, [tau for tau, _ in mine], [mean.value for _, mean in mine], look, reach, reach)
        axes.plot([], [], color=COLOURS[look], marker="o", linestyle="none", label=f"measured, v = {v}")
    clients = results[0][0]["clients"]
    axes.plot([0, 1], [0, clients], color=INK, linewidth=1, linestyle="--", label="Theorem 2")
    label(grid, "tau^2", "variance of the sum / sigma_k^2")
    figure.legend(loc="outside right upper", **LEGEND_TEXT)
    return png(figure)


def corrected_3(point: Mapping[str, Any], directions: float) -> float:
    """(11) for s per coordinate; (1 - rho)(2 + tau^2), less the v directions that go, for one s a share (N3)."""
    rho, tau = point["rho"], point["tau_squared"]
    if point["scale"] == "coordinate":
        return float(niss_collusion_variance(1.0, tau, rho))
    return float((1 - rho) * (2 + tau) * directions)


def checks_3(evidence: Evidence) -> list[tuple[Mapping[str, Any], Check]]:
    results: list[tuple[Mapping[str, Any], Check]] = []
    for one in evidence.measured[COLLUDE.name]:
        point = one.point
        rho, tau, v = point["rho"], point["tau_squared"], point["shares"]
        printed = float(niss_collusion_variance(1.0, tau, rho))
        what = f"rho = {rho:g}, tau^2 = {tau:g}, v = {v}, s per {point['scale']}"
        measured = mean_of(one.each("left"))
        about = "N5" if point["scale"] == "coordinate" else "N2, N3"
        results.append((point, Check(what, measured, printed, corrected_3(point, one.values[0]["directions"]), about)))
    return results


def verdict_3(found: Sequence[tuple[Mapping[str, Any], Check]]) -> Judged:
    """The rule."""
    total = len(found)

    def meets(scale: str, test: Callable[[Mapping[str, Any], Check], bool]) -> bool:
        return all(test(point, one) for point, one in found if point["scale"] == scale)

    def enough(point: Mapping[str, Any], one: Check) -> bool:
        at_threshold = point["tau_squared"] >= float(niss_min_tau_squared(point["rho"])) - 1e-9
        return not at_threshold or one.measured.value >= 1 or one.measured.agrees(1.0, total)

    def as_printed(point: Mapping[str, Any], one: Check) -> bool:
        return one.printed is not None and one.measured.agrees(one.printed, total)

    def as_corrected(point: Mapping[str, Any], one: Check) -> bool:
        return one.measured.agrees(one.corrected, total)

    fine = {scale: meets(scale, as_printed) and meets(scale, enough) for scale in ("coordinate", "share")}
    short = [(p, one) for p, one in found if p["scale"] == "share" and not enough(p, one)]
    if all(fine.values()):
        return Judged(Verdict.REPRODUCED, f"at all {total} points")
    if fine["coordinate"] and meets("share", as_corrected) and meets("coordinate", as_corrected):
        text = "holds on average for s per coordinate; for one s a share, as printed, the corrected variance is left"
        if not short:
            return Judged(Verdict.SHAPE, text)
        point, worst = min(short, key=lambda pair: pair[1].measured.value)
        return Judged(
            Verdict.SHAPE,
            f"{text}: less than sigma_k^2 at {len(short)} points that meet the theorem's condition, "
            f"{worst.measured.value:.2f} at rho = {point['rho']:g}, tau^2 = {point['tau_squared']:g}",
        )
    off = [one.what for _, one in found if not one.measured.agrees(one.corrected, total)]
    return Judged(Verdict.NOT, f"{len(off)} of {total} points are not the corrected variance: {'; '.join(off[:3])}")


def build_3(evidence: Evidence) -> Exhibit:
    result = checks_3(evidence)
    lines = [one.line(len(result)) for _, one in result]
    worst = []
    for measurement in evidence.measured[WORST.name]:
        point = measurement.point
        least, below = mean_of(measurement.each("worst")), mean_of(measurement.each("below"))
        law = niss_worst_coordinate(1.0, 1.0, point["shares"], point["dim"])
        worst.append((point["shares"], point["dim"], least, below, law))
    text = "; ".join(
        f"v = {v}: {least.value:.2f} (quantile 1 / {dim + 1:,}: {law:.2f}), {below.value:.0%} of coordinates below "
        "sigma_k^2"
        for v, dim, least, below, law in worst
    )
    return Exhibit(
        measured=f"{_at(result, 'coordinate')}, {_at(result, 'share')}; worst coordinate at rho = tau^2 = 1: {text}",
        settings=f"float64 exchanges of 31 clients, all of them targets, {SEEDS} seeds; colluders follow the protocol",
        judged=verdict_3(result),
        lines=lines,
        numbers=[
            *(
                {**one.number(), **{key: point[key] for key in ("rho", "tau_squared", "shares", "scale")}}
                for point, one in result
            ),
            *(
                {
                    "what": f"worst of {dim} coordinates, v = {v}",
                    "measured": least.value,
                    "half_width": least.half_width(),
                    "corrected": law,
                }
                for v, dim, least, _, law in worst
            ),
        ],
        plot=lambda: _plot_3(result),
        caption=(
            "In units of sigma_k^2; mean and 95 % t interval over the seeds. Equation 8's last line must have "
            "sigma_k^2 for sigma^2 (N5), as equation 11 has. The theorem is about a mean over coordinates (N4): "
            f"{text}."
        ),
    )


def _at(found: Sequence[tuple[Mapping[str, Any], Check]], scale: str) -> str:
    _, one = next((p, c) for p, c in found if (p["scale"], p["rho"], p["tau_squared"]) == (scale, 1.0, 1.0))
    return f"at rho = tau^2 = 1, s per {scale}, {one.measured.text(2)} is left"


def _plot_3(found: Sequence[tuple[Mapping[str, Any], Check]]) -> bytes:
    figure, grid = grid_of(1, 2, height=2.9, width=3.2)
    taus = sorted({point["tau_squared"] for point, _ in found})
    rho = np.linspace(0, 1, 101)
    for axes, scale in zip(grid[0], ("coordinate", "share"), strict=True):
        axes.set_title(f"s per {scale}", fontsize=9, color=INK, loc="left")
        for look, tau in enumerate(taus):
            mine = [
                (p["rho"], one.measured)
                for p, one in found
                if (p["scale"], p["tau_squared"], p["shares"]) == (scale, tau, 30)
            ]
            reach = [mean.half_width() for _, mean in mine]
            points(axes, [at for at, _ in mine], [mean.value for _, mean in mine], look, reach, reach)
            axes.plot(rho, (1 - rho) * (2 + tau) + rho * tau, color=COLOURS[look], linestyle="--", linewidth=1)
            if scale == "share":
                axes.plot(rho, (1 - rho) * (2 + tau), color=COLOURS[look], linestyle=":", linewidth=1)
        axes.axhline(1, color=INK, linewidth=0.9)
    for look, tau in enumerate(taus):
        grid[0][1].plot([], [], color=COLOURS[look], marker="o", linestyle="none", label=f"measured, tau^2 = {tau:g}")
    for style, name in (("--", "eq. 11, printed"), (":", "corrected (N3)"), ("-", "what the claim needs")):
        grid[0][1].plot([], [], color=INK, linestyle=style, linewidth=1, label=name)
    label(grid, "rho, share of the others that collude", "noise left / sigma_k^2")
    figure.legend(loc="outside right upper", **LEGEND_TEXT)
    return png(figure)


ITEMS = (
    Item(
        "niss-theorem2",
        "niss",
        "Theorem 2: variance of the aggregated noise",
        RULE_2,
        (Form("in full", experiments=(SUM, UNEQUAL, DROPOUT)),),
        build_2,
    ),
    Item(
        "niss-theorem3",
        "niss",
        "Theorem 3: noise left under collusion",
        RULE_3,
        (Form("in full", experiments=(COLLUDE, WORST)),),
        build_3,
    ),
)
