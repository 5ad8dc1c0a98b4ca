"""Inversion cells: what a curious server makes of its targets' uploads, measured with the truth in hand.

A target holds B images of the test split, which nobody trained on, of the classes that its shard has. The rounds that
the attack watches may come after rounds of ordinary training. Beside each result stand two controls: the same attack
without a defense, and a guess that needs no view.
"""

import hashlib
import io
import time
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Self

import torch
from torch import Tensor

from bench import registry
from bench.base import device, rng
from bench.base.errors import DivergedError, require
from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings, check_inverted
from bench.plays.coalition import Coalition
from bench.plays.findings import Findings, Task, build_attack, build_defense, cost_of, stated
from bench.plays.metrics import accuracy_and_loss, image_metrics, labels_recovered, matched
from bench.protocol import Alphabet
from bench.threat import (
    PrivacyAttack,
    Reconstruction,
    RoundTranscript,
    Saboteurs,
    View,
    check_collusion,
    choose_colluders,
    server_view,
)

TRACE_POINTS = 30
CONTROL = "fedavg"
"""The defense of the control: none."""


@dataclass(frozen=True)
class Watched:
    """What an attack saw, and what it did not: the last transcript, the targets' images and labels `(T, B, ...)`."""

    view: View
    last: RoundTranscript
    truth: Tensor
    labels: Tensor


def play(task: Task, dataset: Dataset) -> Findings:
    """Play the rounds that the attack watches, let it infer, and measure with the truth."""
    cell = task.cell
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, PrivacyAttack)
    coalition = Coalition.of(cell)
    federation = coalition.federation(cell.federation, build_defense(cell), dataset, task.seed)
    before = time.perf_counter()
    watched = watch(federation, dataset, attack, cell.targets, cell.trained)
    seconds = time.perf_counter() - before
    alone = attack.alone()
    looking = replace(coalition, forging="")  # forging may ruin a model that nobody defends, and the control with it
    what = (cell.federation, type(alone), alone.model_dump_json(), cell.targets, cell.trained, looking)
    control = _control(*what, task.seed, task.data_root, device.current(), rng.salt())
    result = reconstruct(attack, watched.view, task.seed)
    most, given = watched.view.most_images, result.images.shape[1]
    require(given <= most, "infer's images", given, f"at most {most} a target, as many as there are in what was seen")

    view, truth = watched.view, watched.truth.flatten(0, 1)
    shown = {
        "": matched(result.images, watched.truth, dataset).flatten(0, 1),
        "control_": matched(control, watched.truth, dataset).flatten(0, 1),
        "blind_": view.mean_image.expand_as(truth),
    }
    measured = {prefix: image_metrics(images, truth, dataset) for prefix, images in shown.items()}
    metrics = {
        "images": float(len(truth)),
        "gradient_match_loss": float(result.loss.median()),
        "label_recovered": labels_recovered(result.labels, watched.labels),
    }
    for prefix, values in measured.items():
        metrics[f"{prefix}recovered"] = float((values["psnr"] >= task.recovered_psnr).double().mean())
        metrics |= {f"{prefix}{name}": float(value.double().mean()) for name, value in values.items()}
    if cell.trained or cell.is_coalition:
        metrics["model_accuracy"] = accuracy_and_loss(federation.model, view.rounds[0].broadcast, dataset.test)[0]
    ratio = _residual_noise_ratio(federation, watched, result)
    if ratio is not None:
        metrics["residual_noise_ratio"] = ratio
    if not all(torch.isfinite(torch.tensor(value)) for value in metrics.values()):
        raise DivergedError("the attack's result is not finite")
    return Findings(
        metrics=metrics,
        images={".png": picture([truth, shown["control_"], shown[""]], dataset)},
        trace=[float(f"{value:.4g}") for value in result.trace[:: max(1, len(result.trace) // TRACE_POINTS)]],
        psnr=[round(float(value), 2) for value in measured[""]["psnr"]],
        control_psnr=[round(float(value), 2) for value in measured["control_"]["psnr"]],
        cost=cost_of(federation, seconds),
        **stated(federation.defense, federation.setting),
    )


def from_others(task: Task, dataset: Dataset) -> float:
    """The share of the targets' images that an attack recovers from messages of other images, of the same classes.

    Such messages say nothing of what is recovered, and nothing in them tells that this is a check. The share that a
    guess of the mean image has, which needs no view, is taken off; 0 where the attack refuses the view.
    """
    cell = task.cell
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, PrivacyAttack)

    def watched(held: Dataset) -> Watched:
        federation = Coalition.of(cell).federation(cell.federation, build_defense(cell), held, task.seed)
        return watch(federation, held, attack, cell.targets, cell.trained)

    truth = watched(dataset).truth
    view = watched(with_others(dataset)).view
    try:
        images = matched(reconstruct(attack, view, task.seed).images, truth, dataset).flatten(0, 1)
    except ValueError:
        return 0.0
    true = truth.flatten(0, 1)
    shares = [
        float((image_metrics(some, true, dataset)["psnr"] >= task.recovered_psnr).double().mean())
        for some in (images, view.mean_image.expand_as(true))
    ]
    return shares[0] - shares[1]


def with_others(dataset: Dataset) -> Dataset:
    """The data set with validation images, of the same classes, in the places of all test images."""
    others = torch.empty_like(dataset.test.x)
    for label in dataset.test.y.unique().tolist():
        places = (dataset.test.y == label).nonzero()[:, 0]
        deck = (dataset.validation.y == label).nonzero()[:, 0]
        require(len(deck) > 0, "validation", f"no image of class {label}", "images of all classes")
        others[places] = dataset.validation.x[deck[torch.arange(len(places), device=deck.device) % len(deck)]]
    return replace(dataset, test=replace(dataset.test, x=others))


def watch(
    federation: Federation, dataset: Dataset, attack: PrivacyAttack, num_targets: int, trained: int = 0
) -> Watched:
    """What a server with colluders sees of some rounds about random targets, after `trained` rounds of training.

    Raises `ValueError` where there are fewer clients than targets, where a shard does not hold a number of whole
    batches, under momentum that began before the watch, or where steps follow more than their gradients.
    """
    check_inverted(federation.settings)
    require(not federation.model.num_statistics, "model", federation.model.name, "one without running statistics")
    clients, seed = federation.settings.clients, federation.seed
    if num_targets > clients:
        raise ValueError(f"privacy.targets is {num_targets}, but there are {clients} clients")
    if trained and federation.settings.momentum:
        raise ValueError(f"privacy.trained is {trained}, but must be 0 with momentum: the attack needs its beginning")
    members = federation.is_byzantine.cpu()
    honest = int((~members).sum())
    require(num_targets <= honest, "privacy.targets", num_targets, f"at most the {honest} honest clients")
    for _ in range(trained):
        federation.advance()
        if not bool(torch.isfinite(federation.global_model).all()):
            raise DivergedError(f"the global model is not finite after round {federation.round}")
    order = rng.shuffled(clients, rng.generator(seed, "targets"))
    targets = order[~members[order]][:num_targets].sort().values
    batch, size = federation.settings.batch_size, federation.shards.size
    require(batch <= size, "samples_per_client", size, f"at least the {batch} images of a batch")
    held = dataset.train.y[federation.shards.indices[targets, :batch]]
    private = private_images(dataset.test.y, held, seed)
    truth, labels = dataset.test.x[private].to(federation.dtype), dataset.test.y[private]
    federation.shards.hold(targets, truth, labels)

    if bool(members.any()):  # those who collude are those who forge
        colluders = members.expand(num_targets, clients)
    else:
        check_collusion(attack.collusion(), clients)
        colluders = choose_colluders(clients, targets, attack.collusion(), rng.generator(seed, "colluders"))
    if attack.active:
        federation.saboteurs = Saboteurs(targets, colluders)
    facts = federation.facts(dataset.mean, dataset.std)
    mean_image = dataset.train.x.mean(dim=0).to(federation.dtype)
    rounds, last = [], None
    for index in range(federation.settings.rounds):
        if attack.deviates:
            draws = rng.generator(seed, "tampered", index, device="cpu")
            federation.global_model = attack.tampered(facts, federation.global_model, mean_image, draws)
        last = federation.play()
        rounds.append(server_view(last, targets, colluders, attack.single_shares))
    assert last is not None
    return Watched(View(facts, targets, tuple(rounds), dataset.shape, mean_image), last, truth, labels)


def private_images(labels: Tensor, held: Tensor, seed: int) -> Tensor:
    """Indices `(T, B)` into a split with `labels (N,)`: for each label in `held (T, B)` an image of that class.

    Dealt at random; no image twice before its class is used up. Raises `ValueError` for a class without images.
    """
    dealt = torch.empty_like(held)
    for label in held.unique().tolist():
        places, deck = held == label, (labels == label).nonzero()[:, 0]
        if not len(deck):
            raise ValueError(f"the test split has no image of class {label}, which a target holds")
        deck = deck[rng.shuffled(len(deck), rng.generator(seed, "private", label))]
        dealt[places] = deck[torch.arange(int(places.sum())) % len(deck)]
    return dealt


@dataclass(frozen=True)
class Sight:
    """A view that equals another one where an attack would see the same in both."""

    digest: str
    view: View = field(compare=False)

    @classmethod
    def of(cls, view: View) -> Self:
        digest = hashlib.sha256()
        facts = {part.name: getattr(view.facts, part.name) for part in fields(view.facts) if part.name != "model"}
        digest.update(repr((facts, view.facts.model.name, view.image_shape)).encode())
        for seen in view.rounds:
            for part in (seen.broadcast, seen.estimate, seen.hidden_among):
                digest.update(str((seen.index, part.dtype, part.shape)).encode())
                digest.update(part.contiguous().cpu().numpy().data)
            if seen.variance is not None:
                digest.update(str(("variance", seen.variance.dtype, seen.variance.shape)).encode())
                digest.update(seen.variance.contiguous().cpu().numpy().data)
        return cls(digest.hexdigest(), view)


def reconstruct(attack: PrivacyAttack, view: View, seed: int) -> Reconstruction:
    """What the attack makes of its view: colluders take out the noise that they know, then the server goes on alone.

    Where they know none, the same reconstruction is not made twice.
    """
    alone = attack.alone()
    return _infer(type(alone), alone.model_dump_json(), Sight.of(cleaned(attack, view)), seed, rng.salt())


def cleaned(attack: PrivacyAttack, view: View) -> View:
    """The view of the server alone once its colluders have taken out the noise that they know.

    What they know of the noise that is left stays in it.
    """
    known = zip(view.rounds, attack.estimates(view), attack.variances(view), strict=True)
    rounds = (
        replace(seen, estimate=estimate, shares_sent=None, shares_got=None, each_got=None, variance=variance)
        for seen, estimate, variance in known
    )
    return replace(view, rounds=tuple(rounds))


@lru_cache(maxsize=8)
def _infer(kind: type[PrivacyAttack], parameters: str, sight: Sight, seed: int, salt: str) -> Reconstruction:
    """`salt` is that of the draws; it is here so that two of them have a result each."""
    return kind.model_validate_json(parameters).infer(sight.view, rng.generator(seed, "attack"))


@lru_cache(maxsize=16)
def _control(
    settings: FederationSettings,
    kind: type[PrivacyAttack],
    parameters: str,
    targets: int,
    trained: int,
    coalition: Coalition,
    seed: int,
    data_root: str | None,
    place: torch.device,
    salt: str,
) -> Tensor:
    """The images that the same attack finds of the same targets with no defense: colluders know nothing there.

    All defenses of a suite share them, so they are kept: images alone, which are small. `salt` is that of the draws.
    """
    dataset, attack = load(settings.dataset, data_root).to(place), kind.model_validate_json(parameters)
    federation = coalition.federation(settings, registry.get("defense", CONTROL)(), dataset, seed)
    return reconstruct(attack, watch(federation, dataset, attack, targets, trained).view, seed).images


def _residual_noise_ratio(federation: Federation, watched: Watched, result: Reconstruction) -> float | None:
    """What still hides the targets in the last round, over what the claim needs; None where nothing is claimed.

    Real messages: the variance of what the attacker's estimate misses over the claim's noise variance. Shuffled signs:
    the share of the random messages that still surround the target's. Linked signs keep all of their own noise.
    """
    defense, setting, last = federation.defense, federation.setting, watched.last
    if defense.claim(setting) is None:
        return None
    if defense.alphabet is Alphabet.TERNARY:
        hidden = watched.view.rounds[-1].hidden_among.double().mean()
        return float(hidden / len(last.participants)) if not last.delivered.linked else 1.0
    variance = defense.noise_variance(setting)
    if variance is None:
        return None
    rows = torch.searchsorted(last.participants, watched.view.targets)
    updates = last.updates[rows]
    message = defense.message(updates, updates.new_full((len(rows),), 1 / setting.participants))
    return float((result.estimate - message).square().mean() / variance)


def picture(rows: list[Tensor], dataset: Dataset) -> bytes:
    """A PNG with one row of images a tensor `(k, C, H, W)`: truth, control, reconstruction."""
    from torchvision.utils import make_grid, save_image

    pixels = [dataset.denormalise(row).clamp(0, 1).float() for row in rows]
    grid = make_grid(torch.cat(pixels), nrow=len(rows[0]), padding=1, pad_value=1.0)
    buffer = io.BytesIO()
    save_image(grid, buffer, format="png")
    return buffer.getvalue()
