"""NISS Fig. 4: the DLG loss by iteration and what the pictures look like in the end, over all targets."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from bench.base.errors import BadInputError
from bench.records import Record
from bench.reproduce.evidence import Evidence, Runs
from bench.reproduce.item import Exhibit, Form, Item, Statement, judge
from leaderboards.looks import COLOURS
from leaderboards.plots import INK, LEGEND_TEXT, frame, png

ID = "niss-fig4"
PAPER_EPSILON = 10.0
LEAKING, HALF = 0.1, 0.5
PICTURE = "telephone"
SIDE = 32
NAMES = {"fedavg": "FedAvg", "dp_fedavg": "DP-FedAvg", "niss": "NISS"}
RULE = (
    f"in shape where FedAvg has the lowest loss and at least {HALF:.0%} of its pictures come back; DP-FedAvg leaks at "
    "the paper's epsilon (some picture, less than FedAvg's); NISS has a higher loss than DP-FedAvg at every noise, "
    f"and less than {LEAKING:.0%} of its pictures come back at the paper's epsilon; else not reproduced. A picture is "
    "back at 20 dB."
)


def noise(record: Record) -> float:
    """Standard deviation on the gradient, sigma_k / (p_k eta) (errata N19); 0 without any."""
    sigma = record.derived.get("sigma_k", 0.0)
    return sigma * record.cell.federation.participants / record.cell.federation.lr


def epsilon(record: Record) -> float | None:
    value = record.cell.defense.parameters.get("epsilon")
    return None if value is None else float(value)


def name(record: Record) -> str:
    scheme = NAMES[record.cell.defense.name]
    return scheme if epsilon(record) is None else f"{scheme}, noise {noise(record):.3g}"


def metric(record: Record, key: str) -> float:
    """Not a number where the cell failed."""
    return record.metrics.get(key, math.nan)


def statements(records: Sequence[Record]) -> list[Statement]:
    """The rule."""
    loss = {(one.cell.defense.name, epsilon(one)): metric(one, "gradient_match_loss") for one in records}
    back = {(one.cell.defense.name, epsilon(one)): metric(one, "recovered") for one in records}
    epsilons = sorted({key[1] for key in loss if key[1] is not None})
    free, mine = back["fedavg", None], back["dp_fedavg", PAPER_EPSILON]
    niss = back["niss", PAPER_EPSILON]
    higher = {e: loss["niss", e] / loss["dp_fedavg", e] for e in epsilons}
    return [
        Statement(
            "FedAvg has the lowest loss and its pictures come back",
            free >= HALF and loss["fedavg", None] == min(loss.values()),
            f"{free:.0%} back, loss {loss['fedavg', None]:.2g}",
        ),
        Statement("DP-FedAvg leaks partially at epsilon = 10", 0 < mine < free, f"{mine:.0%} back"),
        Statement(
            "NISS has a higher loss than DP-FedAvg",
            min(higher.values()) > 1,
            ", ".join(f"{ratio:.2f} times at epsilon = {e:.3g}" for e, ratio in higher.items()),
        ),
        Statement("NISS leaks almost nothing at epsilon = 10", niss < LEAKING, f"{niss:.0%} back"),
    ]


def build(evidence: Evidence) -> Exhibit:
    runs = evidence.only
    records = [next(one for one in runs.records if one.cell.hash == cell.hash) for cell in runs.cells]
    attack = records[0].cell.attack
    assert attack is not None
    lines = [
        {
            "scheme": NAMES[one.cell.defense.name],
            "epsilon": "–" if epsilon(one) is None else f"{epsilon(one):.3g}",
            "noise on the gradient": f"{noise(one):.3g}",
            "DLG loss": f"{metric(one, 'gradient_match_loss'):.3g}",
            "pictures back": f"{metric(one, 'recovered'):.0%}",
            "MSE": f"{metric(one, 'mse'):.3g}",
            "PSNR": f"{metric(one, 'psnr'):.1f} dB",
            "SSIM": f"{metric(one, 'ssim'):.2f}",
        }
        for one in records
    ]
    metrics = ("gradient_match_loss", "recovered", "mse", "psnr", "ssim")
    numbers = [
        {
            "scheme": one.cell.defense.name,
            "epsilon": epsilon(one),
            "noise": noise(one),
            **{key: metric(one, key) for key in metrics},
        }
        for one in records
    ]
    back = ", ".join(f"{name(one)} {metric(one, 'recovered'):.0%}" for one in records)
    return Exhibit(
        measured=f"pictures back: {back}; {records[0].cell.targets} targets, {runs.seeds}",
        settings=(
            "CIFAR-100 sample, sigmoid LeNet, one picture a step, eta = 0.01, zeta = 3, DLG with "
            f"{attack.parameters['starts']} starts of {attack.parameters['evaluations']} evaluations and the label "
            "read off the last layer"
        ),
        judged=judge(statements(records)),
        lines=lines,
        numbers=numbers,
        plot=lambda: _plot(runs, records),
        caption=(
            "The loss is the median over the targets. It is no measure of privacy: noise raises it, whether the "
            "picture comes back or not (N20). The paper prints no numbers."
        ),
    )


def shown_target(record: Record) -> int:
    """The target whose picture is a telephone; the first one where none is, or the data is not at hand."""
    from bench.base import rng
    from bench.data import load, partition

    settings = record.cell.federation
    try:
        data = load(settings.dataset)
    except BadInputError:
        return 0
    drawn = rng.generator(record.seed, "partition")
    held = partition(settings.partition, data.train.y, settings.clients, settings.samples_per_client, drawn)
    order = rng.shuffled(settings.clients, rng.generator(record.seed, "targets"))
    targets = order[: record.cell.targets].sort().values
    classes = data.train.y[held[targets, 0]].tolist()
    wanted = data.class_names.index(PICTURE)
    return classes.index(wanted) if wanted in classes else 0


def cut(picture: Any, row: int, column: int) -> Any:
    """One image out of a record's grid, whose images stand a pixel apart."""
    top, left = (1 + place * (SIDE + 1) for place in (row, column))
    return picture[top : top + SIDE, left : left + SIDE]


def _plot(runs: Runs, records: Sequence[Record]) -> bytes:
    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    parts: Any = figure.subfigures(2, 1, height_ratios=[2.2, 1])
    above, below = parts
    axes = above.subplots()
    frame(axes, "y")
    styles = {"fedavg": "-", "dp_fedavg": "--", "niss": ":"}
    levels = sorted({noise(one) for one in records})
    for one in records:
        look = COLOURS[levels.index(noise(one)) % len(COLOURS)]
        axes.plot(
            np.linspace(0, 100, len(one.trace)),
            one.trace,
            color=look,
            linestyle=styles[one.cell.defense.name],
            label=name(one),
        )
    axes.set_yscale("log")
    axes.set_xlabel("share of the attack's iterations in %, all starts", color=INK, fontsize=9)
    axes.set_ylabel("DLG loss, median", color=INK, fontsize=9)
    above.legend(loc="outside right upper", **LEGEND_TEXT)
    images = below.subplots(1, len(records) + 1)
    target = shown_target(records[0])
    for at, axes in enumerate(images):
        one = records[max(0, at - 1)]
        picture = np.asarray(Image.open(runs.file(one, "png")).convert("RGB"))
        axes.imshow(cut(picture, 0 if at == 0 else 2, target))
        axes.set_axis_off()
        axes.set_title("original" if at == 0 else name(one).replace(", ", "\n"), fontsize=7, color=INK)
    return png(figure)


ITEMS = (
    Item(
        ID,
        "niss",
        "Fig. 4: DLG against FedAvg, DP-FedAvg and NISS",
        RULE,
        (
            Form("in full", ("niss-fig4",), heavy=True),
            Form("16 of the 100 pictures", ("niss-fig4-reduced",), heavy=True),
        ),
        build,
    ),
)
