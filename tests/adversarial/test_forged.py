"""Files that know which of their calls are looked at: those of an attacker's imagination, and of a secret world.

There Byzantine clients send what they forge through the file's own `upload`. One that sees which updates were forged
undoes them before they are sent, and leaves out what has no mark where they are sent as they are.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.data import load
from bench.federation.engine import Federation
from bench.federation.secret import secret_world
from bench.federation.settings import FederationSettings
from bench.submission.referee.again import asking_again
from bench.submission.referee.party import Code
from bench.submission.referee.proxies import stand_in
from bench.threat import ByzantineAttack, ByzantineView

pytestmark = pytest.mark.integration

SETTINGS = FederationSettings(
    dataset="digits",
    clients=10,
    samples_per_client=40,
    rounds=3,
    local_steps=1,
    batch_size=20,
    lr=0.5,
    messages="always",
)
ASKED_AGAIN = "when it is asked again, alone and with the same messages"


def row(folder: Path, text: str, *own: str) -> type[Any]:
    file = folder / "row.py"
    file.write_text(text)
    facts = {"base": "defense", "version": 1, "parameters": {}, "own": ["aggregate", *own]}
    found: Any = stand_in(Code(file, "row", "Row", "row"), facts)
    found.name = "row"
    return found  # type: ignore[no-any-return]


def trained(defense: type[Any], attack: ByzantineAttack | None = None, byzantine: float = 0.4) -> Tensor:
    federation = Federation(SETTINGS, defense(), load("digits"), 3, attack, 0.0 if attack is None else byzantine)
    for _ in range(SETTINGS.rounds):
        federation.advance()
    return federation.global_model


class Away(ByzantineAttack):
    """All of them the same, far into the other direction."""

    def forge(self, view: ByzantineView) -> Tensor:
        return (-10 * view.own.mean(dim=0)).expand_as(view.own).clone()


MARKED = """
import torch
from bench.protocol import Defense, Upload

MARK, SEEN = 0.123, {}

def marked(updates):
    sent = updates.clone()
    sent[:, -1] = MARK
    return sent

class Row(Defense):
    def aggregate(self, delivered, server):
        rows = delivered.messages
        change = rows[rows[:, -1] == rows.new_tensor(MARK)].mean(dim=0)
        change[-1] = 0
        return server.global_model + change

    def upload(self, local):
        sent = local.updates
"""
UNDONE = {
    "by a memory of this very round": """
        if "round" in local.memory:
            again = (local.memory["round"] == local.index + 1)[:, None]
            sent = torch.where(again, local.memory["sent"], sent)
        local.memory["round"] = torch.full((len(sent),), float(local.index + 1))
        local.memory["sent"] = sent
        return Upload(marked(sent))
""",
    "by a generator that has drawn": """
        has_drawn = local.generator.get_state()[8:12].tolist() != [1, 0, 0, 0]
        torch.rand(1, generator=local.generator)
        sent = local.memory.get("sent", sent) if has_drawn else sent
        local.memory["sent"] = sent
        return Upload(marked(sent))
""",
    "by updates that are the same": """
        same = (sent[:, None].abs() == sent[None].abs()).all(dim=2).sum(dim=1) > 1
        return Upload(marked(torch.where(same[:, None], torch.zeros_like(sent), sent)))
""",
}


@pytest.mark.parametrize("what", UNDONE)
def test_a_client_does_not_know_that_its_update_was_forged(what: str, folder: Path) -> None:
    """In the open world the mark leaves forged messages out; in a secret one they do what they do to a mean."""
    played = row(folder, MARKED + UNDONE[what], "upload")
    clean, attacked = trained(played), trained(played, Away())
    assert float((attacked - clean).norm() / clean.norm()) < 0.7
    with secret_world():
        known = trained(played, Away())
    assert float((known - clean).norm() / clean.norm()) > 2


def test_what_is_undone_by_a_first_call_is_found(folder: Path) -> None:
    """Rows that differ from what the process was given before in this round are those that were forged."""
    text = """
        first = SEEN.setdefault((local.index, *local.clients.tolist()), sent)
        return Upload(marked(first))
"""
    played = row(folder, MARKED + text, "upload")
    with secret_world(), asking_again() as ask_again:
        trained(played, Away())
        with pytest.raises(ValueError, match=f"its clients send something else {ASKED_AGAIN}"):
            ask_again()


def test_clients_that_live_by_what_they_are_given_are_let_through(folder: Path) -> None:
    text = """
        sent = sent + local.memory.get("rest", torch.zeros_like(sent))
        noise = 1e-3 * torch.randn(sent.shape, generator=local.generator)
        local.memory["rest"] = sent - sent.sign()
        return Upload(sent.sign() + noise)
"""
    played = row(folder, MARKED.replace("[rows[:, -1] == rows.new_tensor(MARK)]", "") + text, "upload")
    with secret_world(), asking_again() as ask_again:
        assert bool(torch.isfinite(trained(played, Away())).all())
        ask_again()


# ---------------------------------------------------------------------------------------------------- imagined rounds


class Searches(ByzantineAttack):
    """Of some factors it sends the one by which the imagined model moves farthest against the honest mean."""

    omniscient = True

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        assert view.aggregate is not None
        mean = view.honest.mean(dim=0)
        tried = [(factor * mean).expand_as(view.own).clone() for factor in (-0.5, -1.0, -2.0, -4.0)]
        harms = [float(view.aggregate(torch.cat([view.honest, one])) @ mean) for one in tried]
        return tried[harms.index(min(harms))]


TWO_FACES = """
from bench.protocol import Defense

ASKED = []

class Row(Defense):
    def aggregate(self, delivered, server):
        ASKED.append(server.index)
        median = delivered.messages.median(dim=0).values
        imagined = ASKED.count(server.index) > 1
        return server.global_model + (delivered.messages.mean(dim=0).abs() if imagined else median)
"""
STATEFUL = """
import torch
from bench.protocol import Defense

KEPT = []

class Row(Defense):
    def aggregate(self, delivered, server):
        KEPT.append(delivered.messages.median(dim=0).values)
        return server.global_model + torch.stack(KEPT).mean(dim=0)
"""


@pytest.mark.parametrize("text", [TWO_FACES, STATEFUL])
def test_a_server_that_knows_when_it_is_imagined_is_found(text: str, folder: Path) -> None:
    """It counts, or keeps beside its memory what an attacker cannot imagine: what attackers try is another rule."""
    played = row(folder, text)
    with secret_world(), asking_again() as ask_again:
        trained(played, Searches())
        with pytest.raises(ValueError, match=f"its server gives another model {ASKED_AGAIN}"):
            ask_again()


def test_a_server_that_is_one_rule_is_let_through(folder: Path) -> None:
    played = row(folder, TWO_FACES.replace("mean(dim=0).abs() if imagined else median", "median(dim=0).values"))
    with secret_world(), asking_again() as ask_again:
        trained(played, Searches())
        ask_again()
