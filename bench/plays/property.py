"""Property cells: which share of a target's images is of which class? Measured with the truth in hand.

The run is the suite's own training to its end. A guess that needs no view is the histogram of the population, which is
public; what an attack adds to it is the share of that guess's error which it explains.
"""

import time
from dataclasses import replace

import torch
from torch import Tensor

from bench.base import rng
from bench.base.errors import DivergedError, require
from bench.data import Dataset
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.plays.membership import Scene, check_scene, scene_of
from bench.plays.metrics import accuracy_and_loss
from bench.threat import PropertyAttack, PropertyView

ROUNDING = 1e-6
"""By which an attack's shares may fail to be shares."""


def play(task: Task, dataset: Dataset) -> Findings:
    """Train to the end, let the attack tell the shares, and measure with the truth."""
    cell = task.cell
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, PropertyAttack)
    check_shared(cell.federation, attack, cell.targets)
    scene = scene_of(cell, attack, task.seed)
    federation = Federation(cell.federation, build_defense(cell), dataset, task.seed)
    truth, population = shares_of(federation, scene), histogram(dataset)
    before = time.perf_counter()
    view = watch(scene, federation, dataset, population)
    seconds = time.perf_counter() - before

    def rehearse(index: int) -> tuple[PropertyView, Tensor]:
        return rehearsed(task, dataset, scene, index)

    result = attack.infer(replace(view, rehearse=rehearse), rng.generator(task.seed, "attack")).double()
    require(result.shape == truth.shape, f"{attack.name}.infer", tuple(result.shape), "a share a target and class")
    if not bool(torch.isfinite(result).all()):
        raise DivergedError("the attack's shares are not finite")
    fit = bool((result >= -ROUNDING).all()) and bool(((result.sum(dim=1) - 1).abs() <= ROUNDING).all())
    require(fit, f"{attack.name}.infer", "others", "shares, none below 0, that add up to 1")
    distance, blind = (float(total_variation(guess, truth).mean()) for guess in (result, population))
    metrics = {
        "label_tv": distance,
        "blind_tv": blind,
        "explained": explained(distance, blind),
        "model_accuracy": accuracy_and_loss(federation.model, federation.global_model, dataset.test)[0],
    }
    return Findings(
        metrics=metrics, cost=cost_of(federation, seconds), **stated(federation.defense, federation.setting)
    )


def total_variation(guess: Tensor, truth: Tensor) -> Tensor:
    """Half of the summed absolute differences of shares `(..., C)`: `(...)`, from 0 to 1."""
    return (guess - truth).abs().sum(dim=-1) / 2


def explained(distance: float, blind: float) -> float:
    """1 - distance / blind: 1 where all is told, 0 where as much as blindly, and below where less; 0 of nothing."""
    return 1 - distance / blind if blind else 0.0


def histogram(dataset: Dataset) -> Tensor:
    """The shares `(C,)` of the labels of the training split, float64."""
    counts = dataset.train.y.cpu().bincount(minlength=dataset.num_classes).double()
    return counts / counts.sum()


def shares_of(federation: Federation, scene: Scene) -> Tensor:
    """The shares `(T, C)` of the labels that the targets hold, float64."""
    counts = federation.label_counts()[scene.targets].double()
    return counts / counts.sum(dim=1, keepdim=True)


def watch(scene: Scene, federation: Federation, dataset: Dataset, population: Tensor) -> PropertyView:
    """Play all rounds; `DivergedError` where a model is not finite. The server has the validation split's images."""
    models, uploads = scene.follow(federation)
    facts, own = federation.facts(dataset.mean, dataset.std), dataset.validation
    return PropertyView(facts, own.x.to(federation.dtype), own.y, population, models, uploads)


def rehearsed(task: Task, dataset: Dataset, scene: Scene, index: int) -> tuple[PropertyView, Tensor]:
    """An attacker's own run, in which clients hold images of the validation split, dealt as the suite deals."""
    own = replace(dataset, train=dataset.validation)
    seed = rng.derive_seed(task.seed, "rehearsal", index)
    federation = Federation(task.cell.federation, build_defense(task.cell), own, seed)
    truth = shares_of(federation, scene)
    return watch(scene, federation, dataset, histogram(dataset)), truth


def check_shared(settings: FederationSettings, attack: PropertyAttack, targets: int) -> None:
    """Raise `ValueError` where a rehearsal would be of another federation, or nobody is left to ask about."""
    text = "given where labels' shares are inferred: a rehearsal's clients hold as many"
    require(settings.samples_per_client is not None, "samples_per_client", settings.samples_per_client, text)
    check_scene(settings, attack, targets)
