"""Clients that work together before they send, channels that judge, and marks by which honest messages are known."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.attacking.forging import Alphabet
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.secret import secret_world
from bench.federation.settings import FederationSettings
from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Upload
from bench.submission.referee.alone import check_channel
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
HEAD = """
import torch
from bench.protocol import Defense, Delivered, Upload

class Row(Defense):
    def aggregate(self, delivered, server):
        return server.global_model + delivered.messages.mean(dim=0)

"""


def row(folder: Path, text: str, *own: str) -> type[Any]:
    file = folder / "row.py"
    file.write_text(HEAD + text)
    facts = {"base": "defense", "version": 1, "parameters": {}, "own": ["aggregate", *own]}
    found = stand_in(Code(file, "row", "Row", "row"), facts)
    found.name = "row"
    return found


def trained(defense: type[Any], attack: ByzantineAttack | None = None, byzantine: float = 0.0) -> Tensor:
    federation = Federation(SETTINGS, defense(), load("digits"), 3, attack, byzantine)
    for _ in range(SETTINGS.rounds):
        federation.advance()
    return federation.global_model


TOGETHER = {
    "all send what all of them mean": (
        "    def upload(self, local):\n"
        "        return Upload(local.updates.mean(dim=0).expand_as(local.updates).contiguous())\n",
        "upload",
        "what a client sends depends on the updates of other clients",
    ),
    "in the message alone": (
        "    def message(self, updates, weights):\n        return updates + 1e-3 * updates.median(dim=0).values\n",
        "message",
        "what a client sends depends on the updates of other clients",
    ),
    "a memory of what others did": (
        "    def upload(self, local):\n"
        "        local.memory['all'] = local.updates.sum(dim=0).expand_as(local.updates).contiguous()\n"
        "        return Upload(local.updates)\n",
        "upload",
        "what a client tells others or keeps depends on the updates of other clients",
    ),
    "only after the first call, which may be a check": (
        "    def upload(self, local):\n"
        "        global calls\n"
        "        calls += 1\n"
        "        return Upload(local.updates + (calls > 2) * local.updates.mean(dim=0))\n",
        "upload",
        "what a client sends depends on the updates of other clients",
    ),
    "nothing where the model is another one than training's": (
        "    def upload(self, local):\n"
        "        return Upload(local.updates if local.setting.dim == 1 else torch.zeros_like(local.updates))\n",
        "upload",
        "no client's message changes with its update",
    ),
    "so in the message alone": (
        "    def message(self, updates, weights):\n        return torch.ones_like(updates)\n",
        "message",
        "no client's message changes with its update",
    ),
    "a channel that shows other messages than its server uses": (
        "    def deliver(self, messages, generator):\n"
        "        return Delivered(messages, None, mix=lambda rows: rows * 0)\n",
        "deliver",
        "deliver gave other numbers than were sent",
    ),
    "a channel that judges": (
        "    def deliver(self, messages, generator):\n"
        "        return Delivered(messages.median(dim=0).values.expand_as(messages).contiguous(), None)\n",
        "deliver",
        "deliver gave other numbers than were sent",
    ),
}


@pytest.mark.parametrize("what", TOGETHER)
def test_what_works_together_before_it_sends_is_refused(what: str, folder: Path) -> None:
    text, own, words = TOGETHER[what]
    with pytest.raises(ValueError, match=words):
        trained(row(folder, text + "\ncalls = 0\n", own))


def test_clients_on_their_own_are_let_through(folder: Path) -> None:
    text = (
        "    def upload(self, local):\n"
        "        kept = local.memory.get('kept', torch.zeros_like(local.updates))\n"
        "        local.memory['kept'] = local.updates\n"
        "        return Upload(local.updates.sign() + kept)\n"
    )
    assert bool(torch.isfinite(trained(row(folder, text, "upload"))).all())


def test_a_channel_shuffles_drops_or_adds_up() -> None:
    messages = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    order = torch.tensor([3, 1, 5, 0, 2, 4])
    check_channel(messages[order], messages, None)
    check_channel(torch.stack([messages[order.roll(k), k] for k in range(4)], dim=1), messages, None)
    check_channel(messages[order[:3]], messages, order[:3])
    check_channel(messages.sum(dim=0, keepdim=True), messages, None)
    for rows, senders in (
        (messages + 1, None),
        (messages[:3], None),  # nobody says whose they are
        (messages[:2], torch.tensor([1, 0])),
        (messages.median(dim=0, keepdim=True).values, None),
        (messages[:2], torch.tensor([0, 99])),
    ):
        with pytest.raises(ValueError, match="deliver gave other numbers"):
            check_channel(rows, messages, senders)


IN_PLACE = (
    "    def deliver(self, messages, generator):\n        return Delivered(messages, None)\n"
    "    def aggregate(self, delivered, server):\n        return server.global_model + delivered.messages[0]\n"
)
"""A channel that unlinks rows and leaves them where they were: a server knows them by their places."""


def test_rows_of_nobody_have_no_places_in_a_secret_world(folder: Path) -> None:
    found = row(folder, IN_PLACE, "deliver")
    with secret_world():
        moved = trained(row(folder, IN_PLACE, "deliver"))
    mean = row(folder, IN_PLACE.replace("messages[0]", "messages.double().mean(dim=0).float()"), "deliver")
    plain = trained(mean)
    with secret_world():
        again = trained(mean)
    assert not torch.equal(trained(found), moved)
    assert torch.allclose(plain, again, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- marks


class Away(ByzantineAttack):
    """Far into the other direction."""

    def forge(self, view: ByzantineView) -> Tensor:
        return -10 * view.own


class Marked(Defense):
    """Honest clients leave a sign in the last coordinate; what has none is left out."""

    alphabet = Alphabet.REAL

    def upload(self, local: LocalRound) -> Upload:
        sent = local.updates.clone()
        sent[:, -1] = 0.123
        return Upload(sent)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        rows = delivered.messages
        honest = rows[rows[:, -1] == rows.new_tensor(0.123)]
        change = honest.mean(dim=0)
        change[-1] = 0
        return server.global_model + change


class SaysWeighted(Defense):
    """It says that messages carry their weight, which the engine then puts on forged ones; its own carry none."""

    weighted = True

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.mean(dim=0)


def test_weights_on_forged_messages_alone_are_of_no_use_in_a_secret_world() -> None:
    SaysWeighted.name = "weighted"
    clean, attacked = trained(SaysWeighted), trained(SaysWeighted, Away(), 0.4)
    with secret_world():
        known = trained(SaysWeighted, Away(), 0.4)
    assert float((attacked - clean).norm() / clean.norm()) < 1
    assert float((known - clean).norm() / clean.norm()) > 2


def test_a_mark_of_honest_messages_is_of_no_use_in_a_secret_world() -> None:
    """There Byzantine clients know how messages are encoded, as they would."""
    Marked.name = "marked"
    clean, attacked = trained(Marked), trained(Marked, Away(), 0.4)
    with secret_world():
        known = trained(Marked, Away(), 0.4)
        assert torch.equal(trained(Marked), clean)
    assert float((attacked - clean).norm() / clean.norm()) < 0.7
    assert float((known - clean).norm() / clean.norm()) > 2
