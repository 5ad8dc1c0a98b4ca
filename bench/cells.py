"""One cell played out: `run_cell(cell, seed) -> Record`. The only place that holds both the attacks and the truth."""

import math
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from bench import registry, rng
from bench.data import Dataset, load
from bench.federation import Federation
from bench.memory import keep_freed_memory
from bench.metrics import accuracy_and_loss, image_metrics
from bench.protocol import Alphabet, Defense, clip
from bench.records import Cost, Privacy, Record, Status, environment, now, protocol_hash, record_key, write_whole
from bench.settings import FederationSettings
from bench.suite import Cell, Part, explain
from bench.threat import (
    ByzantineAttack,
    PrivacyAttack,
    Reconstruction,
    RoundTranscript,
    View,
    choose_colluders,
    server_view,
)

DEVICE = "cpu"
TRACE_POINTS = 30
CONTROL = "fedavg"
"""The defense of the control: none."""


@dataclass(frozen=True)
class Task:
    """What a worker needs to make one record."""

    suite: str
    setting: str
    cell: Cell
    seed: int
    threads: int
    data_root: str | None
    recovered_psnr: float


@dataclass(frozen=True)
class Outcome:
    """A record, and the images that belong beside it (PNG), by the ending of their file name."""

    record: Record
    files: dict[str, bytes]

    def write(self, folder: Path) -> None:
        """Write the files below the record's folder; the store writes the record last."""
        for ending, content in self.files.items():
            write_whole(folder / f"{self.record.key}{ending}", content)


@dataclass(frozen=True)
class Findings:
    """What playing a cell gave: the record's fields of the same names, and the images that belong beside it."""

    status: Status = "ok"
    error: str | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    curve: list[tuple[int, float]] = field(default_factory=list)
    trace: list[float] = field(default_factory=list)
    privacy: Privacy = field(default_factory=Privacy)
    derived: dict[str, float] = field(default_factory=dict)
    within_claim: bool | None = None
    cost: Cost = field(default_factory=Cost)
    images: dict[str, bytes] = field(default_factory=dict)


class DivergedError(Exception):
    """The global model is no longer finite."""


def run_cell(task: Task) -> Outcome:
    """Play the cell; whatever a defense or an attack raises becomes a record with status `failed`."""
    torch.set_num_threads(task.threads)
    keep_freed_memory()
    cell, started = task.cell, time.perf_counter()
    dataset = load(cell.federation.dataset, task.data_root)
    bare = Record(
        suite=task.suite,
        setting=task.setting,
        protocol=protocol_hash(cell, dataset.digest, task.recovered_psnr),
        data_digest=dataset.digest,
        cell=cell,
        seed=task.seed,
        status="ok",
        environment=environment(DEVICE, task.threads),
        finished_at=now(),
    )
    play = _privacy if cell.is_privacy else _training
    try:
        found = play(task, dataset)
    except DivergedError as error:
        found = Findings(status="diverged", error=str(error))
    except Exception as error:  # a cell that fails is shown as failed, and the rest of the matrix goes on
        found = Findings(status="failed", error=f"{type(error).__name__}: {error}".split("\n")[0][:500])
    key = record_key(cell, task.seed)
    update = {name: value for name, value in vars(found).items() if name != "images"}
    update["cost"] = found.cost.model_copy(update={"total_seconds": round(time.perf_counter() - started, 3)})
    update["files"] = {ending.strip("."): f"{key}{ending}" for ending in found.images}
    try:
        record = Record.model_validate({**dict(bare), **update, "finished_at": now()})
    except ValidationError as error:
        failed = {"status": "failed", "error": f"the record cannot hold {explain(error)}"[:500]}
        return Outcome(bare.model_copy(update={**failed, "cost": update["cost"], "finished_at": now()}), {})
    return Outcome(record, found.images)


def build_defense(cell: Cell) -> Defense:
    """The cell's defense with its parameters."""
    defense: Defense = registry.get("defense", cell.defense.name)(**cell.defense.parameters)
    return defense


def build_attack(part: Part) -> ByzantineAttack | PrivacyAttack:
    """An attack with its parameters."""
    attack: ByzantineAttack | PrivacyAttack = registry.get("attack", part.name)(**part.parameters)
    return attack


def _training(task: Task, dataset: Dataset) -> Findings:
    """Train to the end; the accuracy is that of the last round's model, never the best of the curve."""
    cell = task.cell
    attack = None if cell.attack is None else build_attack(cell.attack)
    assert attack is None or isinstance(attack, ByzantineAttack)
    federation = Federation(cell.federation, build_defense(cell), dataset, task.seed, attack, cell.byzantine)
    curve: list[tuple[int, float]] = []
    seconds = 0.0
    accuracy, loss = 0.0, 0.0
    for index in range(cell.federation.rounds):
        before = time.perf_counter()
        federation.advance()
        seconds += time.perf_counter() - before
        if not bool(torch.isfinite(federation.global_model).all()):
            raise DivergedError(f"the global model is not finite after round {index + 1}")
        if (index + 1) % cell.federation.eval_every == 0 or index + 1 == cell.federation.rounds:
            accuracy, loss = accuracy_and_loss(federation.model, federation.global_model, dataset.test)
            curve.append((index + 1, round(accuracy, 4)))
    if not math.isfinite(loss):
        raise DivergedError(f"the loss is not finite after round {cell.federation.rounds}")
    metrics = {"accuracy": accuracy, "loss": loss}
    if federation.rejected:
        metrics["rejected_entries"] = float(federation.rejected)
    return Findings(metrics=metrics, curve=curve, **_common(federation, cell, seconds))


def validation_accuracy(cell: Cell, seed: int, dataset: Dataset) -> float:
    """The clean run's accuracy on the validation split, for `tune`; 0 where training diverges.

    It is the mean over the last fifth of the rounds: a step too long to settle must not win by a lucky last one.
    """
    keep_freed_memory()
    federation = Federation(cell.federation, build_defense(cell), dataset, seed)
    last = -(-cell.federation.rounds // 5)
    accuracies = []
    for index in range(cell.federation.rounds):
        federation.advance()
        if not bool(torch.isfinite(federation.global_model).all()):
            return 0.0
        if index >= cell.federation.rounds - last:
            accuracies.append(accuracy_and_loss(federation.model, federation.global_model, dataset.validation)[0])
    return sum(accuracies) / len(accuracies)


def _privacy(task: Task, dataset: Dataset) -> Findings:
    """Play the rounds that the attack watches, let it infer, and measure with the truth."""
    cell = task.cell
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, PrivacyAttack)
    federation = Federation(cell.federation, build_defense(cell), dataset, task.seed)
    before = time.perf_counter()
    view, last = _watch(federation, dataset, attack.collusion(), cell.targets)
    seconds = time.perf_counter() - before
    control = _control(cell, attack, task.seed, task.data_root)
    is_control = cell.defense.name == CONTROL and attack.alone() == attack
    result = control if is_control else attack.infer(view, rng.generator(task.seed, "attack"))
    truth, labels = _truth(federation, dataset, view.targets)
    measured = image_metrics(result.images, truth, dataset)
    unprotected = image_metrics(control.images, truth, dataset)
    blind = image_metrics(view.mean_image.expand_as(truth), truth, dataset)
    metrics = {
        "gradient_match_loss": float(result.loss.median()),
        "label_recovered": float((result.labels == labels).double().mean()),
        "recovered": _share(measured["psnr"], task.recovered_psnr),
        "control_recovered": _share(unprotected["psnr"], task.recovered_psnr),
        "blind_recovered": _share(blind["psnr"], task.recovered_psnr),
    }
    for prefix, values in (("", measured), ("control_", unprotected), ("blind_", blind)):
        metrics |= {f"{prefix}{name}": float(value.double().mean()) for name, value in values.items()}
    ratio = _residual_noise_ratio(federation, view, last, result)
    if ratio is not None:
        metrics["residual_noise_ratio"] = ratio
    if not all(torch.isfinite(torch.tensor(value)) for value in metrics.values()):
        raise DivergedError("the attack's result is not finite")
    images = {".png": picture([truth, control.images, result.images], dataset)}
    trace = [float(f"{value:.4g}") for value in result.trace[:: max(1, len(result.trace) // TRACE_POINTS)]]
    return Findings(metrics=metrics, images=images, trace=trace, **_common(federation, cell, seconds))


def _watch(federation: Federation, dataset: Dataset, rho: float, num_targets: int) -> tuple[View, RoundTranscript]:
    """What a server with colluders sees of all rounds about random targets; and the last round's transcript."""
    clients, seed = federation.settings.clients, federation.seed
    if num_targets > clients:
        raise ValueError(f"privacy.targets is {num_targets}, but there are {clients} clients")
    order = torch.randperm(clients, generator=rng.generator(seed, "targets"))
    targets = order[:num_targets].sort().values
    colluders = choose_colluders(clients, targets, rho, rng.generator(seed, "colluders"))
    rounds, last = [], None
    for transcript in federation.rounds():
        rounds.append(server_view(transcript, targets, colluders))
        last = transcript
    assert last is not None
    facts = federation.facts(dataset.mean, dataset.std)
    mean_image = dataset.train.x.mean(dim=0).to(federation.dtype)
    return View(facts, targets, tuple(rounds), dataset.shape, mean_image), last


def _truth(federation: Federation, dataset: Dataset, targets: Tensor) -> tuple[Tensor, Tensor]:
    """The targets' images `(T, C, H, W)` and labels `(T,)`."""
    first = federation.shards.indices[targets, 0]
    return dataset.train.x[first].to(federation.dtype), dataset.train.y[first]


@lru_cache(maxsize=16)
def _control_of(
    settings: FederationSettings,
    kind: type[PrivacyAttack],
    parameters: str,
    targets: int,
    seed: int,
    data_root: str | None,
) -> Reconstruction:
    dataset = load(settings.dataset, data_root)
    federation = Federation(settings, registry.get("defense", CONTROL)(), dataset, seed)
    view, _ = _watch(federation, dataset, 0.0, targets)
    return kind.model_validate_json(parameters).infer(view, rng.generator(seed, "attack"))


def _control(cell: Cell, attack: PrivacyAttack, seed: int, data_root: str | None) -> Reconstruction:
    """The same attack, on the same targets, with no defense: colluders know nothing there."""
    alone = attack.alone()
    return _control_of(cell.federation, type(alone), alone.model_dump_json(), cell.targets, seed, data_root)


def _residual_noise_ratio(
    federation: Federation, view: View, last: RoundTranscript, result: Reconstruction
) -> float | None:
    """What still hides the targets in the last round, over what the claim needs; None where nothing is claimed.

    Real messages: the variance of what the attacker's estimate misses over the claim's noise variance. Shuffled signs:
    the share of the random messages that still surround the target's. Linked signs keep all of their own noise.
    """
    defense, setting = federation.defense, federation.setting
    if defense.claim(setting) is None:
        return None
    if defense.alphabet is Alphabet.TERNARY:
        hidden = view.rounds[-1].hidden_among.double().mean()
        return float(hidden / len(last.participants)) if not last.delivered.linked else 1.0
    variance = defense.noise_variance(setting)
    if variance is None:
        return None
    rows = torch.searchsorted(last.participants, view.targets)
    update = clip(last.updates[rows], defense.clip_norm())
    message = update / setting.participants if defense.weighted else update
    return float((result.estimate - message).square().mean() / variance)


def _common(federation: Federation, cell: Cell, seconds: float) -> dict[str, Any]:
    """The findings that every kind of cell has."""
    defense, setting = federation.defense, federation.setting
    return {
        "privacy": Privacy(claimed=defense.claim(setting), composed=defense.composed(setting)),
        "derived": defense.derived(setting),
        "within_claim": defense.tolerates(cell.byzantine, setting),
        "cost": Cost(
            round_seconds=round(seconds / cell.federation.rounds, 6),
            upload_bytes=defense.upload_bytes(setting),
            peer_bytes=defense.peer_bytes(setting),
        ),
    }


def _share(psnr: Tensor, threshold: float) -> float:
    return float((psnr >= threshold).double().mean())


def picture(rows: list[Tensor], dataset: Dataset) -> bytes:
    """A PNG with one row of images a tensor `(T, C, H, W)`: truth, control, reconstruction."""
    import io

    from torchvision.utils import make_grid, save_image

    pixels = [dataset.denormalise(row).clamp(0, 1).float() for row in rows]
    grid = make_grid(torch.cat(pixels), nrow=len(rows[0]), padding=1, pad_value=1.0)
    buffer = io.BytesIO()
    save_image(grid, buffer, format="png")
    return buffer.getvalue()
