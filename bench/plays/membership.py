"""Membership cells: which of a target's candidates did it train on? Measured with the truth in hand.

The run is the suite's own training to its end. A target's candidates are all the images that it holds, and as many of
the training split, of the same classes, that nobody holds: drawn from the same images, so that neither class nor split
tells them apart. The test split stays out of it.
"""

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from bench.base import rng
from bench.base.errors import DivergedError, require
from bench.data import Dataset, shard_size
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays import roc
from bench.plays.coalition import Coalition
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.plays.metrics import accuracy_and_loss
from bench.suite import Cell
from bench.threat import (
    Asked,
    MembershipAttack,
    MembershipView,
    PropertyAttack,
    RoundView,
    Sight,
    check_collusion,
    server_view,
)


@dataclass(frozen=True)
class Candidates:
    """Images x `(T, B, *shape)` and labels y `(T, B)`, half of each row held by its target: `member (T, B)` bool."""

    x: Tensor
    y: Tensor
    member: Tensor

    def asked(self, federation: Federation) -> Asked:
        """What an attacker who forges knows of them."""
        return Asked(federation.model, self.x.flatten(0, 1), self.y.flatten())


@dataclass(frozen=True)
class Scene:
    """Whom an attacker is after, who helps, and what it sees: targets `(T,)`, colluders `(T, n)` bool.

    `byzantine (n,)` bool: the members of a coalition, who forge or look on.
    """

    targets: Tensor
    colluders: Tensor
    sees: Sight
    byzantine: Tensor

    def watch(self, federation: Federation, candidates: Candidates, dataset: Dataset) -> MembershipView:
        """Play all rounds; `DivergedError` where a model is not finite."""
        models, uploads = self.follow(federation)
        facts = federation.facts(dataset.mean, dataset.std)
        return MembershipView(facts, candidates.x, candidates.y, models, uploads)

    def follow(self, federation: Federation) -> tuple[tuple[Tensor, ...], tuple[RoundView, ...]]:
        """All rounds: every model, and what reached the server; `DivergedError` where a model is not finite."""
        models: list[Tensor] = []
        uploads: list[RoundView] = []
        for _ in range(federation.settings.rounds):
            models.append(federation.global_model)
            if self.sees == "broadcasts":
                federation.advance()
            else:
                uploads.append(server_view(federation.play(), self.targets, self.colluders))
            if not bool(torch.isfinite(federation.global_model).all()):
                raise DivergedError(f"the global model is not finite after round {federation.round}")
        models.append(federation.global_model)
        return tuple(models), tuple(uploads)


def play(task: Task, dataset: Dataset) -> Findings:
    """Train to the end, let the attack score the candidates, and measure with the truth."""
    cell = task.cell
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, MembershipAttack)
    check_watched(cell.federation, attack, cell.targets, len(dataset.train))
    federation = Coalition.of(cell).federation(cell.federation, build_defense(cell), dataset, task.seed)
    scene = scene_of(cell, attack, task.seed, federation.is_byzantine.cpu())
    candidates = candidates_of(federation, dataset, scene.targets)
    federation.asked = candidates.asked(federation)
    before = time.perf_counter()
    view = scene.watch(federation, candidates, dataset)
    seconds = time.perf_counter() - before

    def rehearse(index: int, inside: Tensor) -> MembershipView:
        return rehearsed(task, dataset, scene, candidates, index, inside)

    scores = attack.infer(replace(view, rehearse=rehearse), rng.generator(task.seed, "attack"))
    require(scores.shape == candidates.y.shape, f"{attack.name}.infer", tuple(scores.shape), "a score a candidate")
    if not bool(torch.isfinite(scores).all()):
        raise DivergedError("the attack's scores are not finite")
    members, others = scores[candidates.member], scores[~candidates.member]
    right = federation.model.logits(federation.global_model, candidates.x.flatten(0, 1)).argmax(dim=1)
    hits = (right == candidates.y.flatten()).unflatten(0, candidates.y.shape).double()
    metrics = {
        "members": float(len(members)),
        "least_fpr": 1 / len(others),
        "membership_auc": roc.auc(members, others),
        "tpr_at_1": roc.true_positive_rate(members, others, 0.01),
        "tpr_at_0.1": roc.true_positive_rate(members, others, 0.001),
        "member_accuracy": float(hits[candidates.member].mean()),
        "other_accuracy": float(hits[~candidates.member].mean()),
        "model_accuracy": accuracy_and_loss(federation.model, federation.global_model, dataset.test)[0],
    }
    return Findings(
        metrics=metrics,
        roc=roc.curve(members, others),
        cost=cost_of(federation, seconds),
        **stated(federation.defense, federation.setting),
    )


def check_watched(settings: FederationSettings, attack: MembershipAttack, targets: int, images: int) -> None:
    """Raise `ValueError` where nobody is left to ask about, or no image is left that nobody holds.

    `images` are those of the training split.
    """
    clients = settings.clients
    check_scene(settings, attack, targets)
    held = shard_size(images, clients, settings.samples_per_client)
    text = f"at most {images // (clients + targets)}: each target's images need as many that nobody holds, of {images}"
    require(clients * held + targets * held <= images, "samples_per_client", held, text)


def check_scene(settings: FederationSettings, attack: MembershipAttack | PropertyAttack, targets: int) -> None:
    """Raise `ValueError` where nobody is left to ask about."""
    clients = settings.clients
    require(settings.sizes == "equal", "sizes", settings.sizes, f"'equal' where {attack.plays} is inferred")
    text = "1 where uploads are watched: a target sends one in every round"
    require(attack.sees() == "broadcasts" or settings.participation == 1, "participation", settings.participation, text)
    require(targets <= clients, "privacy.targets", targets, f"at most {clients}, the clients")
    check_collusion(attack.collusion(), clients)
    colluders = round(attack.collusion() * (clients - 1))
    beside = f"at most {clients - colluders}, the clients that do not collude"
    require(targets + colluders <= clients, "privacy.targets", targets, beside)


def scene_of(
    cell: Cell, attack: MembershipAttack | PropertyAttack, seed: int, byzantine: Tensor | None = None
) -> Scene:
    """The same honest targets for all attacks; colluders are drawn from the others, one set against all targets.

    Of a coalition, whose members are `byzantine (n,)`, those who collude are those who forge.
    """
    clients = cell.federation.clients
    members = torch.zeros(clients, dtype=torch.bool) if byzantine is None else byzantine
    order = rng.shuffled(clients, rng.generator(seed, "targets"))
    order = order[~members[order]]
    targets, others = order[: cell.targets].sort().values, order[cell.targets :]
    if cell.is_coalition:
        return Scene(targets, members.expand(len(targets), clients), attack.sees(), members)
    others = others[rng.shuffled(len(others), rng.generator(seed, "colluders"))]
    colluders = torch.zeros(len(targets), clients, dtype=torch.bool)
    colluders[:, others[: round(attack.collusion() * (clients - 1))]] = True
    return Scene(targets, colluders, attack.sees(), members)


def candidates_of(federation: Federation, dataset: Dataset, targets: Tensor) -> Candidates:
    """All images of the targets' shards, for each one of the same class that nobody holds, in random order."""
    seed, held = federation.seed, federation.shards.indices
    mine = held[targets]
    free = torch.ones(len(dataset.train), dtype=torch.bool)
    free[held.flatten()] = False
    partners = outsiders(dataset.train.y, mine, free, seed)
    chosen = torch.cat([mine, partners], dim=1)
    order = torch.rand(chosen.shape, generator=rng.generator(seed, "candidates")).argsort(dim=1)
    member = (torch.arange(chosen.shape[1]) < mine.shape[1]).expand_as(chosen).gather(1, order)
    chosen = chosen.gather(1, order)
    return Candidates(dataset.train.x[chosen].to(federation.dtype), dataset.train.y[chosen], member)


def outsiders(labels: Tensor, held: Tensor, free: Tensor, seed: int) -> Tensor:
    """Indices `(T, s)` into a split with `labels (N,)`: for each of `held (T, s)` a `free (N,)` one of its class.

    None twice. Raises `ValueError` where a class has too few.
    """
    result = torch.empty_like(held)
    for label in labels[held].unique().tolist():
        places, deck = labels[held] == label, (free & (labels == label)).nonzero()[:, 0]
        wanted = int(places.sum())
        text = f"at least {wanted} of class {label}, as many as the targets hold"
        require(wanted <= len(deck), "images that nobody holds", len(deck), text)
        result[places] = deck[rng.shuffled(len(deck), rng.generator(seed, "outsiders", label))[:wanted]]
    return result


def rehearsed(
    task: Task, dataset: Dataset, scene: Scene, candidates: Candidates, index: int, inside: Tensor
) -> MembershipView:
    """An attacker's own run: targets hold the candidates `inside (T, B)`, the others images of the validation split.

    The members of a coalition forge in it as they do in the real one.
    """
    half = candidates.y.shape[1] // 2
    require(bool((inside.sum(dim=1) == half).all()), "inside", inside.sum(dim=1).tolist(), f"{half} of each target's")
    own = replace(dataset, train=dataset.validation)
    settings = task.cell.federation.model_copy(update={"samples_per_client": half})
    seed = rng.derive_seed(task.seed, "rehearsal", index)
    coalition = Coalition.of(task.cell)
    federation = coalition.federation(settings, build_defense(task.cell), own, seed, members=scene.byzantine)
    federation.asked = candidates.asked(federation)
    held = (part[inside].unflatten(0, (len(inside), half)) for part in (candidates.x, candidates.y))
    federation.shards.hold(scene.targets, *held)
    return scene.watch(federation, candidates, dataset)
