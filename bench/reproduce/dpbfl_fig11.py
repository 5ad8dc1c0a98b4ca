"""DPBFL Fig. 11: AlexNet on CIFAR-10, the global model and a single worker's (errata D19)."""

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from bench.reproduce.drawing import Panel, accuracy_by_round
from bench.reproduce.evidence import Curve, Evidence, column, papers_suite
from bench.reproduce.item import Exhibit, Form, Item, Statement, judge
from bench.reproduce.measurements import Experiment, Measurement, Point
from bench.suite import Cell
from defenses.fedavg import FedAvg
from leaderboards.frame import CLEAN

if TYPE_CHECKING:
    from bench.data import Split
    from bench.federation.engine import Federation

BYZANTINE = (0.0, 0.2, 0.4)
ROWS = ("sgd", "rsa", "dpbfl (gamma=0.283)")
MODELS = ("global model", "a worker's model")
SLIGHTLY, CHANCE = 5.0, 10.0
GOOD = 0.5
ALONE = "a worker alone"
RULE = (
    f"in shape where DPBFL ends below SGD and RSA at b = 0, by at most {SLIGHTLY:g} points, and keeps at b = 40 % at "
    f"least half of what its clean accuracy is above chance ({CHANCE:g} %), for the global model or for a worker's; "
    "else not reproduced. A worker's model counts only where it is better than that of a worker who trains alone: else "
    "it owes the server nothing; that it does not count then was added after the first run of the reduced form."
)


def points(suite: str) -> tuple[Point, ...]:
    """A point a cell, so that a run that is stopped goes on from there, and one for a worker alone, at RSA's rate."""
    cells = papers_suite(suite).cells()
    results = [{"suite": suite, "row": cell.label, "column": cell.column, "cell": cell.hash} for cell in cells]
    like = next(cell for cell in cells if (cell.label, cell.column) == (ROWS[1], CLEAN))
    return (*results, {"suite": suite, "row": ALONE, "column": CLEAN, "like": like.hash})


def measure(point: Point, seed: int, data_root: str | None) -> dict[str, Any]:
    """Test accuracy by round of the global model, and of the model of the first honest worker, where workers keep one.

    Under SGD a worker has no model of its own: its model is the global one that it was sent. A worker alone is FedAvg
    with one client, which holds as many images as each of many.
    """
    from bench.data import load
    from bench.federation.engine import Federation
    from bench.plays.findings import build_attack, build_defense
    from bench.threat import ByzantineAttack

    cell = _cell(point)
    dataset, settings = load(cell.federation.dataset, data_root), cell.federation
    if point["row"] == ALONE:
        share = len(dataset.train.y) // settings.clients
        alone = settings.model_copy(update={"clients": 1, "samples_per_client": settings.samples_per_client or share})
        return _curves(Federation(alone, FedAvg(), dataset, seed), dataset.test)
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    return _curves(Federation(settings, build_defense(cell), dataset, seed, attack, cell.byzantine), dataset.test)


def _curves(federation: "Federation", test: "Split") -> dict[str, Any]:
    """Train to the end; accuracy of both models every so many rounds."""
    from bench.plays.metrics import accuracy_and_loss

    def score(model: Tensor) -> float:
        return round(accuracy_and_loss(federation.model, model, test)[0], 4) if bool(model.isfinite().all()) else 0.0

    honest = int((~federation.is_byzantine).nonzero()[0])
    every = federation.settings.eval_every
    rounds = range(every, federation.settings.rounds + 1, every)
    both = []
    for _ in rounds:
        for _ in range(every):
            federation.advance()
        of_global = score(federation.global_model)
        both.append((of_global, of_global if federation.kept is None else score(federation.kept[honest])))
    return {"rounds": list(rounds), **dict(zip(MODELS, map(list, zip(*both, strict=True)), strict=True))}


def curve(found: Measurement, model: str) -> Curve:
    values = 100 * np.array(found.each(model))
    return Curve(np.array(found.values[0]["rounds"], float), values.mean(0), values.min(0), values.max(0))


def statements(last: dict[tuple[str, float], float], model: str, alone: float | None = None) -> list[Statement]:
    """The rule for one of the two models, on the accuracy in % of the last round; `alone` is for a worker's model."""
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
        *([] if alone is None else [_owes_the_server(mine, attacked, alone)]),
    ]


def _owes_the_server(clean: float, attacked: float, alone: float) -> Statement:
    """A model that is no better than one that never heard of a server says nothing of the server's rule."""
    text = f"{clean:.1f} clean, {attacked:.1f} at b = 40 %, alone {alone:.1f}"
    return Statement(
        "A worker's model under DPBFL is better than that of a worker alone", min(clean, attacked) > alone, text
    )


def build(evidence: Evidence) -> Exhibit:
    (result,) = evidence.measured.values()
    by_cell = {(one.point["row"], one.point["column"]): one for one in result}
    curves = {
        (model, row, b): curve(by_cell[row, column("sign_flip", b)], model)
        for model in MODELS
        for row in ROWS
        for b in BYZANTINE
    }
    last = {key: float(one.mean[-1]) for key, one in curves.items()}
    alone = curve(by_cell[ALONE, CLEAN], MODELS[0])
    judged = [
        statements({(row, b): last[model, row, b] for row in ROWS for b in BYZANTINE}, model, lone)
        for model, lone in zip(MODELS, (None, float(alone.mean[-1])), strict=True)
    ]
    upheld = [said for said in judged if all(one.holds for one in said)]
    text = "; ".join(
        f"{model} of DPBFL " + ", ".join(f"{last[model, ROWS[2], b]:.1f} at b = {b:.0%}" for b in BYZANTINE)
        for model in MODELS
    )
    settings = _cell(result[0].point).federation
    return Exhibit(
        measured=f"{text}; a worker alone {alone.mean[-1]:.1f}",
        settings=(
            f"CIFAR-10, {settings.model}, {settings.clients} workers, {settings.local_steps} local steps of batch "
            f"{settings.batch_size}, {settings.rounds} rounds, {_rates(_cell(one.point) for one in result)}, 1 seed"
        ),
        judged=judge(upheld[0] if upheld else [one for said in judged for one in said]),
        lines=[
            {"model": model, "row": row, **{f"b = {b:.0%}": f"{last[model, row, b]:.1f}" for b in BYZANTINE}}
            for model in MODELS
            for row in ROWS
        ]
        + [{"model": "–", "row": ALONE, "b = 0%": f"{alone.mean[-1]:.1f}", "b = 20%": "–", "b = 40%": "–"}],
        numbers=[
            {"model": key[0], "row": key[1], "byzantine": key[2], "accuracy": value} for key, value in last.items()
        ]
        + [{"model": "", "row": ALONE, "byzantine": 0.0, "accuracy": float(alone.mean[-1])}],
        plot=lambda: accuracy_by_round(
            [
                [
                    Panel(f"{model}, b = {b:.0%}", {**{row: curves[model, row, b] for row in ROWS}, ALONE: alone})
                    for b in BYZANTINE
                ]
                for model in MODELS
            ],
            (*ROWS, ALONE),
        ),
        caption=(
            "Test accuracy of the last round in %. Under SGD a worker's model is the global one. A worker alone trains "
            "on its own images and hears nobody. The paper prints no numbers, and gives no learning rate, lambda or "
            "server step: each row has its own."
        ),
    )


def _cell(point: Point) -> Cell:
    wanted = point.get("cell", point.get("like"))
    return next(cell for cell in papers_suite(point["suite"]).cells() if cell.hash == wanted)


def _rates(cells: Iterable[Cell]) -> str:
    """`learning rate 0.1 (sgd), ...`, with lambda and kappa where a row has them."""
    told = {}
    for cell in cells:
        values = {"learning rate": cell.federation.lr, **cell.defense.parameters}
        names = {"learning rate": "learning rate", "penalty": "lambda", "kappa": "kappa"}
        told[cell.label] = ", ".join(f"{text} {values[key]:g}" for key, text in names.items() if key in values)
    return "; ".join(f"{row}: {text}" for row, text in told.items())


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
                needs="50 GB of memory for the models that 100 workers keep",
            ),
            _form("a small CNN, 20 workers, 20 local steps, 15 rounds", "dpbfl-fig11-reduced"),
        ),
        build,
    ),
)
