"""NISS Fig. 3: accuracy by round over X = tau^2, under each reading of the sensitivity (errata N10 to N13)."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from bench.privacy.analysis.gaussian import gaussian_sigma
from bench.reproduce.drawing import Panel, accuracy_by_round
from bench.reproduce.evidence import Curve, Evidence, Runs
from bench.reproduce.item import Exhibit, Form, Item, Judged, Verdict
from bench.reproduce.papers import stated
from bench.suite import Cell
from leaderboards.estimates import MISSING, Estimate
from leaderboards.frame import CLEAN

ID = "niss-fig3"
FULL = tuple(f"niss-fig3-{data}-{model}" for data in ("mnist", "cifar10") for model in ("cnn", "mlp"))
SHORT = ("niss-fig3-mnist-mlp", *(f"niss-fig3-reduced-{name}" for name in ("mnist-cnn", "cifar10-mlp", "cifar10-cnn")))
PROBE = {"clients": 10, "local_steps": 20}
XS = (0.0, 0.3, 0.6, 1.0)
NEAR, ORDERED, PLAIN = 2.0, 1.0, 5.0
RULE = (
    f"reproduced where one reading of the sensitivity gives every panel's gap between X = 0 and X = 1 within {NEAR:g} "
    f"points of the paper's range and accuracies that fall with X (by no more than {ORDERED:g} point the other way); "
    f"in shape where one reading makes them fall with X in every panel, with gaps above {PLAIN:g} points; else not "
    "reproduced. A reading under which a cell's training diverges has no gap there, and is none of these. Where "
    "X = 0.3 and 0.6 were not played, X = 0 and 1 stand alone."
)
MODELS = {"mlp": "MLP", "cnn": "CNN", "cnn_small": "small CNN"}


@dataclass(frozen=True)
class Reading:
    """A reading of Delta f, and the epsilon under which clipped updates, of sensitivity 2 zeta p_k, have its noise."""

    name: str
    delta: float

    @property
    def epsilon(self) -> float:
        said = stated()[ID]
        zeta, m, epsilon = (said.number(key) for key in ("zeta", "clients_a_round", "epsilon"))
        return float(epsilon * (2 * zeta / m) / self.delta)

    @property
    def sigma(self) -> float:
        """sigma_k by the classical mechanism at the paper's epsilon and delta."""
        said = stated()[ID]
        return gaussian_sigma(said.number("epsilon"), said.number("delta"), self.delta, analytic=False)


def readings(dataset: str) -> tuple[Reading, ...]:
    """Those that the errata discuss, and a fit between the first and the second that no reading gives."""
    said = stated()[ID]
    zeta, m, d_k = said.number("zeta"), said.number("clients_a_round"), said.number("samples")[dataset]
    steps = said.number("epochs") * d_k / said.number("batch")
    return (
        Reading("2 zeta / d_k", 2 * zeta / d_k),
        Reading("none (a fit)", 0.04),
        Reading("2 zeta p_k", 2 * zeta / m),
        Reading("2 eta zeta steps p_k", 2 * said.number("eta") * zeta * steps / m),
        Reading("zeta", zeta),
        Reading("2 zeta", 2 * zeta),
    )


@dataclass(frozen=True)
class Panel3:
    """One panel of the figure: data, partition and model, with the cell of each (reading, X)."""

    runs: Runs
    partition: str

    @property
    def dataset(self) -> str:
        return self.runs.suite.federation.dataset

    @property
    def title(self) -> str:
        return f"{self.dataset}, {self.partition}, {self.model}"

    @property
    def model(self) -> str:
        model = self.runs.suite.federation.model
        return MODELS.get(model, model)

    @property
    def rounds(self) -> str:
        return f"{self.runs.suite.federation.rounds} rounds of {self.dataset} with the {self.model}"

    def reading(self, name: str) -> Reading:
        """What the reading of this name is for the panel's data."""
        return next(reading for reading in readings(self.dataset) if reading.name == name)

    @property
    def range(self) -> tuple[float, float]:
        """The paper's gap in points."""
        low, high = stated()[ID].number("gaps")[f"{self.dataset}-{self.partition}"]
        return low, high

    def row(self, reading: Reading, x: float) -> str | None:
        """The row with this reading's noise; None where a reduced form does not play it."""
        for cell in self.runs.cells:
            if cell.federation.partition == self.partition and x_of(cell) == x and _has(cell, reading):
                return cell.label
        return None

    def accuracy(self, reading: Reading, x: float) -> Estimate:
        return self.runs.accuracies.get((self.row(reading, x) or "", CLEAN), MISSING)

    def percents(self, reading: Reading) -> list[float]:
        """Over the X that were played, 0 and 1 among them."""
        return [100 * self.accuracy(reading, x).score for x in XS if self.row(reading, x) is not None]

    def gap(self, reading: Reading) -> float:
        """Between X = 0 and X = 1, in points."""
        values = self.percents(reading)
        return values[0] - values[-1]

    def is_near(self, reading: Reading) -> bool:
        """Whether training goes to its end and the gap is the paper's, but for `NEAR` points."""
        return not self.diverges(reading) and _is_near(self.gap(reading), self.range)

    def diverges(self, reading: Reading) -> bool:
        return any(self.accuracy(reading, x).failed for x in XS)

    def curve(self, reading: Reading, x: float) -> Curve | None:
        row = self.row(reading, x)
        return None if row is None else self.runs.curve(row, CLEAN)


def x_of(cell: Cell) -> float:
    """X = tau^2: 0 is FedAvg, 1 is DP-FedAvg, as the paper has it (errata N15)."""
    fixed = {"fedavg": 0.0, "dp_fedavg": 1.0}
    return fixed[cell.defense.name] if cell.defense.name in fixed else float(cell.defense.parameters["tau_squared"])


def _has(cell: Cell, reading: Reading) -> bool:
    if cell.defense.name == "fedavg":
        return True
    return abs(float(cell.defense.parameters["epsilon"]) / reading.epsilon - 1) < 1e-4


def verdict(
    found: Mapping[str, Sequence[tuple[Sequence[float], tuple[float, float]]]],
    diverging: Mapping[str, int] = MappingProxyType({}),
) -> Judged:
    """The rule: by reading, for each panel the accuracies in % over X and the paper's range of the gap.

    Under the readings that are `diverging`, in so many panels, training does not go to its end: none is compared.
    """
    if diverging:
        judged = verdict({name: panels for name, panels in found.items() if name not in diverging})
        gone = (f"{name} in {count} of {len(found[name])} panels" for name, count in diverging.items())
        return Judged(judged.verdict, f"{judged.reason}; training diverges under {', '.join(gone)}")
    gaps = {name: [values[0] - values[-1] for values, _ in panels] for name, panels in found.items()}
    falls = {name: all(_falls(values) for values, _ in panels) for name, panels in found.items()}
    text = "; ".join(f"{name}: {', '.join(f'{gap:.0f}' for gap in mine)}" for name, mine in gaps.items())
    near = [
        name
        for name, panels in found.items()
        if falls[name] and all(_is_near(gap, span) for gap, (_, span) in zip(gaps[name], panels, strict=True))
    ]
    if near:
        return Judged(Verdict.REPRODUCED, f"by {' and '.join(near)}; gaps in points, {text}")
    plain = [name for name, mine in gaps.items() if falls[name] and min(mine) > PLAIN]
    if plain:
        return Judged(
            Verdict.SHAPE, f"accuracy falls with X by {' and '.join(plain)}; no reading has the paper's gaps: {text}"
        )
    by = f"by more than {PLAIN:g} points"
    return Judged(
        Verdict.NOT, f"under no reading does accuracy fall with X in every panel {by}; gaps in points, {text}"
    )


def _is_near(gap: float, span: tuple[float, float]) -> bool:
    return span[0] - NEAR <= gap <= span[1] + NEAR


def _falls(values: Sequence[float]) -> bool:
    return all(two <= one + ORDERED for one, two in itertools.pairwise(values))


def build(evidence: Evidence) -> Exhibit:
    panels = [Panel3(runs, partition) for runs in evidence.runs.values() for partition in ("iid", "sorted")]
    names = [reading.name for reading in readings("mnist")]
    results = {name: [(panel.percents(panel.reading(name)), panel.range) for panel in panels] for name in names}
    lines = [
        {
            "Delta": name,
            "sigma_k": f"{(reading := panel.reading(name)).sigma:.4g}",
            "panel": panel.title,
            **{f"X = {x:g}": panel.accuracy(reading, x).text() for x in XS},
            "gap": "–" if panel.diverges(reading) else f"{panel.gap(reading):.1f}",
            "paper's gap": f"{panel.range[0]:g} to {panel.range[1]:g}",
        }
        for name in names
        for panel in panels
    ]
    numbers = [
        {
            "reading": name,
            "sigma_k": panel.reading(name).sigma,
            "panel": panel.title,
            "x": x,
            "accuracy": 100 * (one := panel.accuracy(panel.reading(name), x)).mean,
            "half_width": 100 * one.half_width,
            "seeds": one.seeds,
        }
        for name in names
        for panel in panels
        for x in XS
        if panel.row(panel.reading(name), x) is not None
    ]
    first = panels[0].runs.suite.federation
    lost = {name: sum(panel.diverges(panel.reading(name)) for panel in panels) for name in names}
    diverging = {name: count for name, count in lost.items() if count}
    rounds = ", ".join(dict.fromkeys(panel.rounds for panel in panels))
    gaps = "; ".join(
        f"{name} " + ", ".join(f"{panel.gap(panel.reading(name)):.1f}" for panel in panels)
        for name in names
        if name not in diverging
    )
    near = {name: sum(panel.is_near(panel.reading(name)) for panel in panels) for name in names}
    given = ", ".join(f"{count} of {len(panels)} panels by {name}" for name, count in near.items() if count) or "none"
    return Exhibit(
        measured=(
            f"gaps in points by reading ({'; '.join(panel.title for panel in panels)}): {gaps}; gaps within {NEAR:g} "
            f"points of the paper's: {given}; {evidence.seeds}"
        ),
        settings=(
            f"K = {first.clients}, C = {first.participation:g}, B = {first.batch_size}, eta = {first.lr:g}, E = "
            f"{first.local_epochs}, {rounds}, epsilon = 10, delta = 1e-4, zeta = 3, classical sigma_k, "
            "unit variance 0.01 with v clipped to 1 to 29"
        ),
        judged=verdict(results, diverging),
        lines=lines,
        numbers=numbers,
        plot=partial(_plot, panels, names[0]),
        more={f"Delta = {name}": partial(_plot, panels, name) for name in names[1:]},
        caption=(
            "Test accuracy of the last round in %, mean and 95 % t interval. X = 0 is FedAvg and X = 1 DP-FedAvg, as "
            "in the paper. The paper's number of rounds is not in our copy; its gaps are about the end of its curves."
        ),
    )


def _plot(panels: Sequence[Panel3], name: str) -> bytes:
    """One reading, two panels a line; a star is FedAvg's accuracy less the middle of the paper's gap."""
    drawn = []
    for panel in panels:
        reading = panel.reading(name)
        curves = {f"X = {x:g}": panel.curve(reading, x) for x in XS}
        mark = panel.percents(reading)[0] - sum(panel.range) / 2
        gone = ", ".join(f"{x:g}" for x in XS if panel.accuracy(reading, x).failed)
        text = panel.title + (f"; diverged: X = {gone}" if gone else "")
        drawn.append(Panel(text, curves, {f"X = {XS[-1]:g}": mark}))
    lines = [drawn[at : at + 2] for at in range(0, len(drawn), 2)]
    title = f"Accuracy by X = τ², noise for a sensitivity of {name}"
    return accuracy_by_round(lines, [f"X = {x:g}" for x in XS], star="FedAvg less the\npaper's gap", title=title)


ITEMS = (
    Item(
        ID,
        "niss",
        "Fig. 3: accuracy over tau^2",
        RULE,
        (
            Form("in full", FULL, heavy=True, probe=PROBE),
            Form(
                "50 rounds of MNIST with the MLP, 20 of CIFAR-10, 10 of a small CNN",
                SHORT,
                heavy=True,
                probe=PROBE,
            ),
            Form(
                "MNIST with the MLP, 50 rounds",
                ("niss-fig3-mnist-mlp",),
                heavy=True,
                probe=PROBE,
            ),
            Form(
                "MNIST with the MLP, 10 rounds",
                ("niss-fig3-reduced",),
                heavy=True,
                probe=PROBE,
            ),
        ),
        build,
    ),
)
