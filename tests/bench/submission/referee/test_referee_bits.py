"""The same file gives the same bits in the engine's process and behind the referee, of every kind."""

import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.attacking.poisoning import DataPoisoning
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.protocol import Defense
from bench.submission.child import facts_about
from bench.submission.referee.party import Code, end_all
from bench.submission.referee.proxies import stand_in
from bench.suite import Cell, make_part

pytestmark = pytest.mark.integration

SETTINGS = FederationSettings(
    dataset="digits",
    clients=12,
    samples_per_client=20,
    rounds=3,
    local_steps=1,
    batch_size=10,
    lr=0.5,
    assumed_byzantine=0.2,
    messages="always",
)
DEFENSES: dict[str, dict[str, Any]] = {
    "fedavg": {},
    "krum": {},
    "median": {},
    "centered_clipping": {},
    "nnm": {"rule": "krum"},
    "bucketing": {"rule": "median"},
    "fltrust": {},
    "foolsgold": {},
    "rsa": {},
    "dpbfl": {},
    "ldpbfl": {},
    "dp_fedavg": {},
    "niss": {},
}


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_all()


def standing_in(kind: Any, name: str, parameters: dict[str, Any]) -> type[Any]:
    """The stand-in for a shipped class, as if somebody had submitted its file."""
    cls = registry.get(kind, name)
    file = Path(sys.modules[cls.__module__].__file__ or "").resolve()
    found = stand_in(Code(file, cls.__module__, cls.__name__, name), facts_about(cls(**parameters)))
    found.name = name
    return found


@pytest.mark.parametrize("name", DEFENSES)
def test_a_defense_gives_the_same_models(name: str) -> None:
    parameters, models = DEFENSES[name], []
    for cls in (registry.get("defense", name), standing_in("defense", name, parameters)):
        defense: Defense = cls(**parameters)
        federation = Federation(SETTINGS, defense, load("digits"), seed=1)
        for _ in range(SETTINGS.rounds):
            federation.advance()
        models.append(federation.global_model)
        facts = (defense.claim(federation.setting), defense.composed(federation.setting), defense.clip_norm())
        models[-1] = (
            models[-1],
            *facts,
            defense.derived(federation.setting),
            defense.tolerates(0.1, federation.setting),
        )
    assert torch.equal(models[0][0], models[1][0])
    assert models[0][1:] == models[1][1:]


FORGERS: dict[str, dict[str, Any]] = {
    "sign_flip": {},
    "alie": {},
    "adaptive": {"evaluations": 6},
    "mimic": {},
    "label_flip": {},
    "backdoor": {},
}


@pytest.mark.parametrize(("attack", "defense"), [*((name, "krum") for name in FORGERS), ("sign_flip", "dpbfl")])
def test_an_attack_that_forges_does_the_same_harm(attack: str, defense: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where it tries the deployed rule, which is a stand-in itself then."""
    if issubclass(cls := registry.get("attack", attack), DataPoisoning):
        monkeypatch.setattr(cls, "has_control", True)  # as a submitted one has
    part, rule = make_part("attack", attack, FORGERS[attack]), make_part("defense", defense, {})
    cell = Cell(label="row", defense=rule, attack=part, federation=SETTINGS, byzantine=0.25)
    records = [run_cell(Task("s", "s", cell, 2, 1, None, 20.0)).record]
    for kind, name, given in (("attack", attack, FORGERS[attack]), ("defense", defense, {})):
        monkeypatch.setitem(registry._registered[kind], name, registry.Entry(standing_in(kind, name, given)))  # type: ignore[index]
    records.append(run_cell(Task("s", "s", cell, 2, 1, None, 20.0)).record)
    assert [record.status for record in records] == ["ok", "ok"], records[1].error
    assert records[0].metrics == records[1].metrics
    assert records[0].curve == records[1].curve


@pytest.mark.parametrize(
    ("attack", "given", "defense", "shared"),
    [
        ("analytic", {}, "fedavg", {}),
        ("dlg", {"iterations": 5}, "niss", {}),
        ("collusion", {"rho": 0.5, "iterations": 5}, "niss", {}),
        ("weighted_collusion", {"rho": 0.5, "starts": 1, "evaluations": 5}, "niss", {"tau_squared": 1.0}),
        ("audit", {"rho": 0.5, "runs": 40, "dim": 20}, "niss", {}),
    ],
)
def test_an_attack_on_privacy_finds_the_same(
    attack: str, given: dict[str, Any], defense: str, shared: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    cls = registry.get("attack", attack)
    given = {name: value for name, value in given.items() if name in cls.model_fields}  # type: ignore[attr-defined]
    part, rule = make_part("attack", attack, given), make_part("defense", defense, shared)
    kind = cls.plays  # type: ignore[attr-defined]
    if kind == "audit":
        monkeypatch.setattr(cls, "is_gaussian", lambda audit, game: False)  # a submitted one's word is not taken
    watched = SETTINGS.model_copy(update={"batch_size": 1, "samples_per_client": 1, "rounds": 1, "lr": 0.1})
    settings = watched if kind == "inversion" else SETTINGS
    cell = Cell(
        label="row", defense=rule, attack=part, federation=settings, kind=kind, targets=2 * (kind == "inversion")
    )
    records = [run_cell(Task("s", "s", cell, 2, 1, None, 20.0)).record]
    monkeypatch.setitem(registry._registered["attack"], attack, registry.Entry(standing_in("attack", attack, given)))
    monkeypatch.setitem(
        registry._registered["defense"], defense, registry.Entry(standing_in("defense", defense, shared))
    )
    records.append(run_cell(Task("s", "s", cell, 2, 1, None, 20.0)).record)
    assert [record.status for record in records] == ["ok", "ok"], records[1].error
    for name, value in records[0].metrics.items():
        assert records[1].metrics[name] == value or math.isnan(value), name
