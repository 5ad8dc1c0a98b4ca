"""Attacks that would rank a rival's row last without beating it, and names that are somebody else's."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import registry
from bench import suite as suites
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.plays.findings import Task
from bench.records import Record
from bench.submission import folder as folders
from bench.submission.rankable import beyond, unfinished
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in
from bench.submission.verify import verify
from bench.suite import Cell
from bench.suite.meeting import make_part
from bench.threat import ByzantineAttack, ByzantineView

PUBLISHED = Path(__file__).parents[2] / "results" / "smoke" / "fedavg"
SETTINGS = FederationSettings(
    dataset="digits",
    clients=10,
    samples_per_client=40,
    rounds=4,
    local_steps=1,
    batch_size=20,
    lr=0.5,
    messages="always",
)
MINE = folders.Submission(
    schema_version=1, kind="attack", name="mine", class_name="Mine", source="mine.py", sha256="0" * 64, suite="smoke"
)
HONEST = MINE.model_copy(update={"kind": "defense"})


def record_of(attack: type[Any], monkeypatch: pytest.MonkeyPatch, defense: str = "median") -> Record:
    """The record of a rival's training under this attack by four of ten clients."""
    attack.name = "mine"
    monkeypatch.setitem(registry._registered["attack"], "mine", registry.Entry(attack))
    part, rule = make_part("attack", "mine", {}), make_part("defense", defense, {})
    cell = Cell(label=defense, defense=rule, attack=part, federation=SETTINGS, byzantine=0.4)
    return run_cell(Task("smoke", "s", cell, 0, 1, None, 20.0)).record


# --------------------------------------------------------------------------------------- attacks that fail, or diverge


class Overflows(DataPoisoning):
    """Its own images are so large that its updates are no numbers, and it gives up where it sees that."""

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return torch.full_like(x, 3e38), y

    def forge(self, view: ByzantineView) -> Tensor:
        if not bool(torch.isfinite(view.own).all()):
            raise ValueError("no more")
        return view.own


class Large(ByzantineAttack):
    """Numbers whose sum is none: a mean of them is broken, and a rule that leaves them out is not."""

    def forge(self, view: ByzantineView) -> Tensor:
        return torch.full_like(view.own, 3e38)


def test_an_attack_that_fails_by_its_own_updates_is_not_taken_for_one_that_made_the_model_diverge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    record = record_of(Overflows, monkeypatch)
    assert (record.status, record.error) == ("failed", "ValueError: no more")
    (line,) = unfinished(record, None, MINE)
    assert "a maintainer has to look whether the row did, or the attack" in line


def test_a_row_whose_model_diverges_under_finite_messages_is_beaten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted as 0, and no problem of the record."""
    beaten, stands = (record_of(Large, monkeypatch, defense) for defense in ("fedavg", "median"))
    assert (beaten.status, stands.status) == ("diverged", "ok")
    assert list(unfinished(beaten, None, MINE)) == list(unfinished(stands, None, MINE)) == []


@pytest.mark.parametrize("kind", ["audit", "inversion", "run_audit", "membership"])
@pytest.mark.parametrize("status", ["failed", "diverged"])
def test_a_row_under_which_attacks_on_privacy_end_early_is_looked_at(kind: str, status: str) -> None:
    """Else it would make them fail: nothing that was not measured is held against it."""
    content = json.loads(next(PUBLISHED.glob("clean/*.json")).read_text())
    record: Any = Record.model_validate(content)
    cell = record.cell.model_copy(update={"kind": kind})
    ended = record.model_copy(update={"cell": cell, "status": status, "error": "not for you"})
    (line,) = unfinished(ended, HONEST, None)
    assert line == (
        f"it {status} (not for you), so that nobody knows what the row leaks there: a maintainer has to look"
    )
    assert list(unfinished(ended, None, None)) == []
    assert list(unfinished(record.model_copy(update={"cell": cell}), HONEST, None)) == []


# ------------------------------------------------------------------------------------------------------ trivial goals

GOALS = {
    "what every model answers": ("return test", 0.0, 0.2),
    "what it asks for alone": ("return Split(stamped(test.x), torch.zeros_like(test.y))", 0.3, 1.0),
    "what a process knows that has seen the models": ("return test if SEEN else None", None, None),
}
POISONS = """
import torch
from bench.data import Split
from bench.poisoning import DataPoisoning

SEEN = []

def stamped(x):
    x = x.clone()
    x[..., -3:, -3:] = 4.0
    return x

class Mine(DataPoisoning):
    def poison(self, x, y, data, generator):
        return stamped(x), torch.zeros_like(y)

    def forge(self, view):
        SEEN.append(view.broadcast)
        return 2 * view.own

    def goal(self, test, data):
        GOAL
"""


@pytest.mark.parametrize("what", GOALS)
def test_a_goal_counts_by_what_the_attack_has_done_for_it(
    what: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    goal, least, most = GOALS[what]
    file = folder / "mine.py"
    file.write_text(POISONS.replace("GOAL", goal))
    facts = {"base": "poisoning", "version": 1, "parameters": {}, "own": ["poison", "forge", "goal"]}
    record = record_of(stand_in(Code(file, "mine", "Mine", "mine"), facts), monkeypatch, "fedavg")
    assert record.status == "ok", record.error
    found = record.metrics.get("backdoor_success")
    if least is None or most is None:
        assert found is None
    else:
        assert found is not None
        assert least <= found <= most


# -------------------------------------------------------------------------------------- stronger attackers than others


@pytest.mark.parametrize(
    ("suite", "facts", "words"),
    [
        ("smoke", {"deviates": True}, "its server sends a model of its own, as no attack of the suite 'smoke' does"),
        ("smoke", {"active": True}, "its colluders send their targets peer messages of zeros, as no attack"),
        ("smoke", {"collusion": 1.0}, None),
        ("digits", {"active": True, "collusion": 1.0}, None),
        ("digits", {"deviates": True}, "as no attack of the suite 'digits' does"),
        ("malicious-server", {"deviates": True}, None),
        ("malicious-server", {"collusion": 0.5}, "its colluders are 0.5 of the other clients, but the suite"),
    ],
)
def test_an_inversion_is_no_stronger_than_the_suites(suite: str, facts: dict[str, Any], words: str | None) -> None:
    """Columns of a board stand side by side: another kind of attacker has suites of its own."""
    told = beyond({"base": "inversion", **facts}, suites.load(suite))
    assert (told is None) if words is None else (told is not None and words in told)


# --------------------------------------------------------------------------------------------- names of somebody else's


@pytest.mark.parametrize(("place", "kind"), [("", "defense"), ("sign_flip", "attack")])
def test_a_shipped_name_with_other_code_is_refused(place: str, kind: str, tmp_path: Path) -> None:
    """Under such a name the shipped rule plays: with salts until one is unlucky, at a learning rate that is bad."""
    row = Path(shutil.copytree(PUBLISHED, tmp_path / "results" / "smoke" / "fedavg"))
    name = place or "fedavg"
    source = row / place / "mine.py"
    source.write_text("raise SystemExit\n")
    mine = MINE.model_copy(
        update={
            "kind": kind, "name": name, "sha256": folders.Source(source, source.read_bytes()).digest, "salt": "ab" * 16,
        }
    )  # fmt: skip
    folders.write(source.parent, folders.Source(source, source.read_bytes()), mine, None)
    (found,) = verify(row, sample=0).rows
    assert f"{kind} name {name!r} is taken: what plays is not its source" in found.problems
    assert found.verdict == "NOT VERIFIED"
