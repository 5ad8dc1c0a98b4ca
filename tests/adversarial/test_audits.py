"""Adversaries of audits that would break a claim which holds: they count their games, or say what is not so."""

from pathlib import Path
from typing import Any

import pytest
from torch import Tensor

from attacks.audit import Audit
from bench import registry
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in
from bench.suite import Cell
from bench.suite.meeting import make_part
from bench.threat import Game, RoundView

SETTINGS = FederationSettings(dataset="digits", clients=10, samples_per_client=20, rounds=2, local_steps=1, lr=0.5)
RUNS = 60
GAMES: list[int] = []


class Counts(Audit):
    """It reads nothing: after the first half of all games it says that the target holds the other input."""

    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        GAMES.append(1)
        return game.with_ * 0 + (1.0 if len(GAMES) > RUNS else -1.0)


class Turns(Counts):
    """The same in every second game."""

    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        GAMES.append(1)
        return game.with_ * 0 + (1.0 if len(GAMES) % 2 else -1.0)


@pytest.mark.parametrize("adversary", [Counts, Turns])
def test_an_adversary_that_counts_its_games_proves_nothing(
    adversary: type[Audit], monkeypatch: pytest.MonkeyPatch
) -> None:
    GAMES.clear()
    adversary.name = "mine"
    monkeypatch.setitem(registry._registered["attack"], "mine", registry.Entry(adversary))
    part, rule = make_part("attack", "mine", {"runs": RUNS, "dim": 5}), make_part("defense", "dp_fedavg", {})
    cell = Cell(label="dp_fedavg", defense=rule, attack=part, federation=SETTINGS, kind="audit")
    record = run_cell(Task("smoke", "s", cell, 0, 1, None, 20.0)).record
    assert (record.status, len(GAMES)) == ("ok", 2 * RUNS)
    assert record.metrics["epsilon_audited"] == 0
    assert record.metrics["epsilon_provable"] > 1


def test_what_a_submitted_adversary_says_of_the_noise_is_not_taken(tmp_path: Path) -> None:
    facts = {"base": "audit", "version": 1, "parameters": {}, "own": ["is_gaussian"], "size": (10, 5)}
    audit: Any = stand_in(Code(tmp_path / "mine.py", "mine", "Mine", "mine"), facts)()
    game: Any = None
    assert audit.is_gaussian(game) is False
