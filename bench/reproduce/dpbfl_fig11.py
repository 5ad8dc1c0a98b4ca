"""DPBFL Fig. 11: AlexNet on CIFAR-10, the global model and a single worker's (errata D19)."""

from functools import partial
from typing import Any

import numpy as np
import torch

from bench.reproduce.drawing import Panel, accuracy_by_round
from bench.reproduce.evidence import Curve, Evidence, column, papers_suite
from bench.reproduce.item import Exhibit, Form, Item, Statement, judge
from bench.reproduce.measurements import Experiment, Measurement, Point
from bench.suite import Cell

BYZANTINE = (0.0, 0.2, 0.4)
ROWS = ("sgd", "rsa", "dpbfl (gamma=0.283)")
MODELS = ("global model", "a worker's model")
SLIGHTLY, CHANCE = 5.0, 10.0
GOOD = 0.5
RULE = (
    f"in shape where DPBFL ends below SGD and RSA at b = 0, by at most {SLIGHTLY:g} points, and keeps at b = 40 % at "
    f"least half of what its clean accuracy is above chance ({CHANCE:g} %), for the global model or for a worker's; "
    "else not reproduced."
)


def points(suite: str) -> tuple[Point, ...]:
    """A point a cell, so that a run that is stopped goes on from there."""
    return tuple(
        {"suite": suite, "row": cell.label, "column": cell.column, "cell": cell.hash}
        for cell in papers_suite(suite).cells()
    )


def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Test accuracy by round of the global model, and of the model of the first honest worker, where workers keep one.

    Under SGD a worker has no model of its own: its model is the global one that it was sent.
    """
    from bench.data import load
    from bench.federation import Federation
    from bench.findings import build_attack, build_defense
    from bench.metrics import accuracy_and_loss
    from bench.threat import ByzantineAttack

    cell = next(found for found in papers_suite(point["suite"]).cells() if found.hash == point["cell"])
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    dataset = load(cell.federation.dataset, data_root)
    federation = Federation(cell.federation, build_defense(cell), dataset, seed, attack, cell.byzantine)
    honest = int((~federation.is_byzantine).nonzero()[0])
    curves: dict[str, list[float]] = {name: [] for name in MODELS}
    for at in range(cell.federation.rounds):
        federation.advance()
        if (at + 1) % cell.federation.eval_every:
            continue
        kept = federation.kept
        models = (federation.global_model, federation.global_model if kept is None else kept[honest])
        for name, model in zip(MODELS, models, strict=True):
            finite = bool(torch.isfinite(model).all())
            score = accuracy_and_loss(federation.model, model, dataset.test)[0] if finite else 0.0
            curves[name].append(round(score, 4))
    return {
        "rounds": list(range(cell.federation.eval_every, cell.federation.rounds + 1, cell.federation.eval_every)),
        **curves,
    }


def curve(found: Measurement, model: str) -> Curve:
    values = 100 * np.array(found.each(model))
    return Curve(np.array(found.values[0]["rounds"], float), values.mean(0), values.min(0), values.max(0))


def statements(last: dict[tuple[str, float], float], model: str) -> list[Statement]:
    """The rule for one of the two models, on the accuracy in % of the last round."""
    sgd, rsa, mine = (last[row, 0.0] for row in ROWS)
    attacked = last[ROWS[2], 0.4]
    return [
        Statement(
            f"DPBFL ends slightly below SGD and RSA ({model})",
            min(sgd, rsa) - SLIGHTLY <= mine <= min(sgd, rsa),
            f"{mine:.1f}, SGD {sgd:.1f}, RSA {rsa:.1f}",
        ),
        Statement(
            f"DPBFL still converges at b = 40 % ({model})",
            attacked - CHANCE >= GOOD * (mine - CHANCE) > 0,
            f"{attacked:.1f}, clean {mine:.1f}",
        ),
    ]


def build(evidence: Evidence) -> Exhibit:
    (found,) = evidence.measured.values()
    by_cell = {(one.point["row"], one.point["column"]): one for one in found}
    curves = {
        (model, row, b): curve(by_cell[row, column("sign_flip", b)], model)
        for model in MODELS
        for row in ROWS
        for b in BYZANTINE
    }
    last = {key: float(one.mean[-1]) for key, one in curves.items()}
    judged = [statements({(row, b): last[model, row, b] for row in ROWS for b in BYZANTINE}, model) for model in MODELS]
    best = max(judged, key=lambda said: sum(one.holds for one in said))
    cell = _cell(found[0])
    told = "; ".join(
        f"{model} of DPBFL " + ", ".join(f"{last[model, ROWS[2], b]:.1f} at b = {b:.0%}" for b in BYZANTINE)
        for model in MODELS
    )
    settings = cell.federation
    return Exhibit(
        measured=told,
        settings=(
            f"CIFAR-10, {settings.model}, {settings.clients} workers, {settings.local_steps} local steps of batch "
            f"{settings.batch_size}, {settings.rounds} rounds, learning rate {settings.lr:g}, 1 seed"
        ),
        judged=judge(best),
        lines=[
            {"model": model, "row": row, **{f"b = {b:.0%}": f"{last[model, row, b]:.1f}" for b in BYZANTINE}}
            for model in MODELS
            for row in ROWS
        ],
        numbers=[
            {"model": key[0], "row": key[1], "byzantine": key[2], "accuracy": value} for key, value in last.items()
        ],
        plot=lambda: accuracy_by_round(
            [
                [Panel(f"{model}, b = {b:.0%}", {row: curves[model, row, b] for row in ROWS}) for b in BYZANTINE]
                for model in MODELS
            ],
            ROWS,
        ),
        caption=(
            "Test accuracy of the last round in %. Under SGD a worker's model is the global one. The paper prints no "
            "numbers."
        ),
    )


def _cell(one: Measurement) -> Cell:
    return next(cell for cell in papers_suite(one.point["suite"]).cells() if cell.hash == one.point["cell"])


def _form(name: str, suite: str, **more: Any) -> Form:
    experiments = (Experiment(suite, measure, partial(points, suite), spread=True),)
    return Form(name, (suite,), experiments, heavy=True, **more)


ITEMS = (
    Item(
        "dpbfl-fig11",
        "dpbfl",
        "Fig. 11: AlexNet on CIFAR-10",
        RULE,
        (
            _form(
                "in full",
                "dpbfl-fig11",
                probe={"clients": 2, "local_steps": 1},
                needs="23 GB of memory for the models that workers keep",
            ),
            _form("a small CNN, 20 workers, 20 local steps, 10 rounds", "dpbfl-fig11-reduced"),
        ),
        build,
    ),
)
