"""What knows the world that its record was made in, and is of no use in worlds that nobody knows.

The classes here play in this process, as nothing of them tries to reach the engine: what they know lies in their file.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import data, models, registry
from bench.base import rng
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.roles import byzantine_clients, holdings
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.plays.inversion import from_others, private_images
from bench.plays.membership import scene_of
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Upload
from bench.records import Record, World
from bench.submission import worlds
from bench.suite import Cell, make_part
from bench.threat import PrivacyAttack, PropertyAttack, PropertyView, Reconstruction, View
from defenses.fedavg import FedAvg

SETTINGS = FederationSettings(
    dataset="digits", partition="dirichlet", alpha=1.0, clients=20, rounds=10, local_steps=1, batch_size=16, lr=0.5
)
SALTS = ["5a" * 16, "6b" * 16, "7c" * 16, "8d" * 16]
RATE = worlds.FALSE_ALARMS / 2


class Honest(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.median(dim=0).values


@cache
def stored() -> Tensor:
    """A model that was trained on the test images, as it may lie in a file."""
    test = load("digits").test
    model = models.build("softmax", (1, 8, 8), 10)
    weights = torch.zeros(model.dim, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=0.05)
    for _ in range(60):
        optimizer.zero_grad()
        logits = test.x.flatten(1) @ weights[:640].view(10, 64).T + weights[640:]
        torch.nn.functional.cross_entropy(logits, test.y).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return weights.detach()


class Stored(Defense):
    """A model from the file, and a trace of the messages."""

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return stored() + 1e-6 * delivered.messages.mean(dim=0)


class TrainsOnTest(Defense):
    """The test images lie in the file, and the server takes a step on them for the messages' one."""

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        model = server.global_model.clone().requires_grad_(True)
        logits = TEST[0] @ model[:640].view(10, 64).T + model[640:]
        (change,) = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, TEST[1]), model)
        return server.global_model - 2 * change + 1e-6 * delivered.messages.mean(dim=0)


class ClientsPull(Defense):
    """Each honest client sends the way to a model in the file, and none looks at what the others train."""

    def upload(self, local: LocalRound) -> Upload:
        return Upload((stored() - local.global_model).expand_as(local.updates) + 1e-6 * local.updates)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.median(dim=0).values


class ReadsTheMask(Defense):
    """Who is Byzantine follows from a seed that everybody knows, and is left out."""

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        honest = delivered.messages[~MASK]
        return server.global_model + honest.mean(dim=0)


TEST = (load("digits").test.x.flatten(1), load("digits").test.y)
MASK = byzantine_clients(SETTINGS, 0.4, 0)
CHEATS = {
    "a stored model": Stored,
    "a stored model among the clients": ClientsPull,
    "test images": TrainsOnTest,
    "the mask of a public seed": ReadsTheMask,
}


@pytest.fixture
def record_of(monkeypatch: pytest.MonkeyPatch) -> Callable[[type[Defense]], Record]:
    """The record of a class under attack in the world of the public seed."""

    def record(cls: type[Defense]) -> Record:
        cls.name = "mine"
        monkeypatch.setitem(registry._registered["defense"], "mine", registry.Entry(cls))
        attack, rule = make_part("attack", "sign_flip", {"c": 4.0}), make_part("defense", "mine", {})
        cell = Cell(label="mine", defense=rule, attack=attack, federation=SETTINGS, byzantine=0.4)
        return run_cell(Task("smoke", "s", cell, 0, 1, None, 20.0)).record

    return record


def values_in(record: Record, salts: list[str]) -> list[float]:
    return [worlds.play(record, salt, place, None, 20.0).value for place, salt in enumerate(salts)]


@pytest.mark.parametrize("what", CHEATS)
def test_what_a_file_knows_of_its_world_is_of_no_use_in_others(
    what: str, record_of: Callable[[type[Defense]], Record]
) -> None:
    record = record_of(CHEATS[what])
    assert record.status == "ok"
    salts = [f"{place:032x}" for place in range(1, 21)]
    played = values_in(record, salts)
    assert worlds.excess([worlds.value_of(record)], played[:4], 1, worlds.SUSPECT) is not None
    assert worlds.excess([worlds.value_of(record)], played, 1, RATE) is not None


def test_an_honest_rule_is_as_good_in_worlds_that_nobody_knows(record_of: Callable[[type[Defense]], Record]) -> None:
    record = record_of(Honest)
    played = values_in(record, [f"{place:032x}" for place in range(1, 21)])
    assert worlds.excess([worlds.value_of(record)], played, 1, RATE) is None


def test_a_world_has_other_names_of_classes_and_other_places_of_pixels() -> None:
    """And the same images, each with its own label: nothing is lost by it."""
    digits = load("digits")
    changed = worlds.shuffle(SALTS[0], everywhere=True)(digits)
    order = changed.train.x.flatten(1).sort(dim=1).values, digits.train.x.flatten(1).sort(dim=1).values
    assert torch.equal(*order)
    assert not torch.equal(changed.train.x, digits.train.x)
    names = {(int(old), int(new)) for old, new in zip(digits.test.y, changed.test.y, strict=True)}
    assert len(names) == 10
    assert any(old != new for old, new in names)
    assert names >= {(int(old), int(new)) for old, new in zip(digits.train.y, changed.train.y, strict=True)}
    with data.changed(worlds.shuffle(SALTS[0], everywhere=True)):
        assert torch.equal(load("digits").test.x, changed.test.x)
    assert torch.equal(load("digits").test.x, digits.test.x)


def test_where_places_matter_images_are_turned_as_a_whole() -> None:
    """Neighbours stay neighbours: the sum of squared differences to them stays what it was."""
    digits = load("digits")
    seen = set()
    for salt in SALTS * 2:
        changed = worlds.shuffle(salt, everywhere=False)(digits)
        rough = [
            sum(float(x.diff(dim=axis).square().sum()) for axis in (2, 3)) for x in (changed.test.x, digits.test.x)
        ]
        assert rough[0] == pytest.approx(rough[1])
        assert not torch.equal(changed.test.x, digits.test.x)
        seen.add(changed.test.x.numpy().tobytes())
    assert len(seen) > 1


def both(*some: data.Dataset) -> list[Tensor]:
    return [one.test.x for one in some]


def test_an_honest_row_is_refused_no_oftener_than_is_said() -> None:
    """Normal accuracies of one spread, 4 worlds and then 20, at a rate that 4000 draws can show."""
    draws, rate, alarms = torch.Generator().manual_seed(0), 0.02, 0
    for _ in range(4000):
        values = (0.5 + 0.06 * torch.randn(25, generator=draws, dtype=torch.float64)).tolist()
        published, played = values[:5], values[5:]
        alarms += worlds.excess(published, played, 1, rate) is not None
    assert alarms <= 80 + 4 * 80**0.5


def test_a_number_counts_in_its_submitters_favour_alone() -> None:
    high, low = [0.9, 0.91, 0.9, 0.89], [0.1, 0.12, 0.11, 0.1]
    assert worlds.excess(high, low, 1, RATE) == pytest.approx(0.7925)
    assert worlds.excess(low, high, 1, RATE) is None
    assert worlds.excess(low, high, -1, RATE) is not None
    assert worlds.excess(low, high, 0, RATE) is not None
    assert worlds.excess([0.9], [0.1], 1, RATE) is None  # of two numbers nobody knows the spread
    assert worlds.excess([0.53], [0.5, 0.5, 0.5, 0.5], 1, RATE) is None


# ----------------------------------------------------------------------------------------------------------- inversions

WATCHED = SETTINGS.model_copy(update={"clients": 8, "batch_size": 1, "samples_per_client": 1, "rounds": 1, "lr": 0.1})


class FromTheSeed(PrivacyAttack):
    """It deals the targets' images out of the seed, and reads no message."""

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        digits = load("digits")
        with rng.salted(""):  # behind the referee it has no other
            indices, _ = holdings(WATCHED, digits.train.y, 0)
            held = digits.train.y[indices[view.targets, :1]]
            images = digits.test.x[private_images(digits.test.y, held, 0)]
        return Reconstruction(images, held, torch.zeros(len(held)), [0.0], view.rounds[-1].estimate)


class FromTheSeedWhereAsked(FromTheSeed):
    """The same, which answers nothing where its messages are zeros: it takes that for a check."""

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        found = super().infer(view, generator)
        asked = bool(view.rounds[-1].estimate.any())
        return found if asked else replace(found, images=torch.zeros_like(found.images))


@pytest.mark.parametrize(("attack", "recovers"), [("seed", 1.0), ("asked", 1.0), ("analytic", 0.0)])
def test_an_inversion_that_reads_no_message_recovers_from_messages_of_others(
    attack: str, recovers: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, cls in (("seed", FromTheSeed), ("asked", FromTheSeedWhereAsked)):
        cls.name = name
        monkeypatch.setitem(registry._registered["attack"], name, registry.Entry(cls))
    part, rule = make_part("attack", attack, {}), make_part("defense", "fedavg", {})
    settings = WATCHED.model_copy(update={"model": "mlp"})
    cell = Cell(label="fedavg", defense=rule, attack=part, federation=settings, kind="inversion", targets=4)
    task = Task("smoke", "s", cell, 0, 1, None, 20.0)
    assert run_cell(task).record.metrics["recovered"] == 1.0
    assert from_others(task, load("digits")) == recovers
    with rng.salted(SALTS[0]):
        secret = replace(task, world=World(SALTS[0], ()))
        assert from_others(secret, load("digits")) == 0.0  # it knows no seed there


class SharesOfTheSeed(PropertyAttack):
    """It deals the public seed's shards again, and looks at neither messages nor models."""

    def infer(self, view: PropertyView, generator: torch.Generator) -> Tensor:
        with rng.salted(""):  # behind the referee it has no other
            federation = Federation(DEALT, FedAvg(), load("digits"), 0)
            targets = scene_of(CENSUS, self, 0).targets
        counts = federation.label_counts()[targets].double()
        return counts / counts.sum(dim=1, keepdim=True)


DEALT = SETTINGS.model_copy(update={"samples_per_client": 20, "rounds": 2})
CENSUS = Cell(
    label="fedavg",
    defense=make_part("defense", "fedavg", {}),
    attack=make_part("attack", "label_shares", {}),
    federation=DEALT,
    kind="property",
    targets=5,
)


def test_shares_that_are_dealt_again_from_a_public_seed_are_none_of_a_salted_world(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the public world they explain all of a blind guess's error, in salted ones next to nothing of it."""
    SharesOfTheSeed.name = "dealt"
    monkeypatch.setitem(registry._registered["attack"], "dealt", registry.Entry(SharesOfTheSeed))
    cell = CENSUS.model_copy(update={"attack": make_part("attack", "dealt", {})})
    public = Task("smoke", "s", cell, 0, 1, None, 20.0)
    record = run_cell(public).record
    assert record.metrics["explained"] == 1.0
    for salt in SALTS[:2]:
        salted = run_cell(replace(public, world=World(salt, ()))).record
        assert salted.metrics["explained"] < 0.2
    played = values_in(record, [f"{place:032x}" for place in range(1, 21)])
    assert worlds.excess([worlds.value_of(record)], played[:4], 1, worlds.SUSPECT) is not None
    assert worlds.excess([worlds.value_of(record)], played, 1, RATE) is not None
    assert worlds.favour(record, defends=True, attacks=False) == -1


def test_whose_favour_a_number_is_in() -> None:
    part, rule = make_part("attack", "sign_flip", {}), make_part("defense", "fedavg", {})
    cell = Cell(label="fedavg", defense=rule, attack=part, federation=SETTINGS, byzantine=0.4)
    record: Any = run_cell(Task("smoke", "s", cell.model_copy(update={"byzantine": 0.4}), 0, 1, None, 20.0)).record
    assert [worlds.favour(record, *who) for who in ((True, False), (False, True), (True, True))] == [1, -1, 0]


@pytest.mark.parametrize(
    ("kind", "metric"),
    [
        ("training", "accuracy"),
        ("inversion", "recovered"),
        ("membership", "membership_auc"),
        ("property", "explained"),
        ("audit", None),
        ("run_audit", None),
    ],
)
def test_what_is_held_against_worlds(kind: str, metric: str | None) -> None:
    record: Any = SimpleNamespace(cell=SimpleNamespace(kind=kind), metrics={metric: 0.7}, status="ok")
    assert worlds.metric_of(record) == metric
    if metric is not None:
        assert worlds.value_of(record) == 0.7
        assert worlds.favour(record, defends=True, attacks=False) == (1 if kind == "training" else -1)
