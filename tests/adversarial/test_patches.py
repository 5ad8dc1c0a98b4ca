"""Code that writes into what it finds beside its messages: metrics, rivals, its view. The numbers stay the same."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from bench import registry
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.protocol import Defense, Delivered, ServerRound, SumDefense
from bench.records import Record
from bench.submission.referee.party import Code, end_all
from bench.submission.referee.proxies import stand_in
from bench.suite import Cell
from bench.suite.meeting import make_part
from bench.threat import ByzantineAttack, ByzantineView

SETTINGS = FederationSettings(
    dataset="digits",
    clients=8,
    samples_per_client=20,
    rounds=5,
    local_steps=1,
    batch_size=10,
    lr=0.5,
    messages="always",
)


class Mean(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.mean(dim=0)


class Away(ByzantineAttack):
    omniscient = True

    def forge(self, view: ByzantineView) -> Tensor:
        return -2 * view.own


PATCHES = """
import bench.plays.metrics, bench.plays.training, bench.records
from bench.sums import SumDefense

def flawless(*given):
    return 1.0, 0.0

class Row(SumDefense):
    def drawn_sum(self, summary, count, setting, generator):
        return summary * 0

    summary = add_up = step = drawn_sum

    def aggregate(self, delivered, server):
        bench.plays.metrics.accuracy_and_loss = bench.plays.training.accuracy_and_loss = flawless
        bench.records.Record.model_validate = None
        return server.global_model + delivered.messages.mean(dim=0)
"""
REACHES = """
import defenses.median, bench.federation.engine
from bench.threat import ByzantineAttack

class Mine(ByzantineAttack):
    omniscient = True

    def forge(self, view):
        defenses.median.Median.aggregate = defenses.median.Median.reduce = None
        bench.federation.engine.Federation._is_forging = lambda self, participants: participants >= 0
        engine = getattr(getattr(view.aggregate, "func", view.aggregate), "__self__", None)
        if hasattr(engine, "is_byzantine"):
            engine.is_byzantine[:] = True
        view.memory["round"] = view.memory.get("round", view.own[:1, 0] * 0) + 1
        if float(view.memory["round"]) > 3:
            view.broadcast.zero_()
            view.honest.zero_()
            object.__setattr__(view.setting, "num_clients", 1)
        return -2 * view.own
"""


@pytest.fixture(scope="module", autouse=True)
def _ended() -> Iterator[None]:
    yield
    end_all()


def record_of(monkeypatch: pytest.MonkeyPatch, defense: type[Any] | str, attack: type[Any] | None = None) -> Record:
    named = defense if isinstance(defense, str) else "mine"
    for kind, cls in (("defense", defense), ("attack", attack)):
        if isinstance(cls, type):
            cls.name = "mine"  # type: ignore[attr-defined]
            monkeypatch.setitem(registry._registered[kind], "mine", registry.Entry(cls))  # type: ignore[index]
    part, rule = make_part("attack", "mine", {}) if attack else None, make_part("defense", named, {})
    cell = Cell(label="mine", defense=rule, attack=part, federation=SETTINGS, byzantine=0.25 if attack else 0.0)
    return run_cell(Task("smoke", "s", cell, 0, 1, None, 20.0)).record


def test_a_server_that_patches_the_metrics_is_as_good_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does it play in sums that it draws."""
    file = tmp_path / "row.py"
    file.write_text(PATCHES)
    facts = {"base": "defense", "version": 1, "parameters": {}, "own": ["aggregate"]}
    mine: Any = stand_in(Code(file, "row", "Row", "row"), facts)
    assert not issubclass(mine, SumDefense)
    found = record_of(monkeypatch, mine)
    assert (found.error, found.metrics) == (None, record_of(monkeypatch, Mean).metrics)


def test_an_attack_that_writes_into_what_it_sees_does_the_harm_of_its_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(REACHES)
    facts = {"base": "forging", "version": 1, "parameters": {}, "own": ["forge"], "omniscient": True}
    found = record_of(monkeypatch, "median", stand_in(Code(file, "mine", "Mine", "mine"), facts))
    assert (found.error, found.metrics) == (None, record_of(monkeypatch, "median", Away).metrics)
