"""What omniscient attackers are shown: the deployed rule as the server plays it, without a trace in what is real."""

from typing import ClassVar

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Alphabet, Defense, Delivered, ServerRound
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dp_fedavg import DPFedAvg
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.flame import FLAME
from defenses.krum import Krum
from defenses.ldpbfl import LDPBFL
from defenses.median import Median
from defenses.niss import NISS
from defenses.rsa import RSA


class Watching(ByzantineAttack):
    """Sends its own message doubled, or turned round; keeps what it saw, and what it expects to come of it."""

    name: ClassVar[str] = "watching"
    omniscient: ClassVar[bool] = True

    asks: int = 1
    _views: list[ByzantineView] = PrivateAttr(default_factory=list)
    _expected: list[Tensor] = PrivateAttr(default_factory=list)

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        assert view.aggregate is not None
        forged = -view.own if view.alphabet is Alphabet.TERNARY else 2 * view.own
        for _ in range(self.asks):
            self._expected.append(view.aggregate(torch.cat([view.honest, forged.to(view.honest.dtype)])))
        self._views.append(view)
        view.memory["rounds"] = view.memory.get("rounds", torch.tensor(0)) + 1
        return forged


class Remembering(Defense):
    """A defense with state: its step halves from round to round; clients are told apart by their row."""

    name: ClassVar[str] = "remembering"
    _rounds: int = PrivateAttr(default=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        self._rounds += 1
        rows = torch.arange(1.0, len(delivered.messages) + 1)
        return server.global_model + rows @ delivered.messages / 2**self._rounds


def federation(defense: Defense, attack: ByzantineAttack, rounds: int = 3) -> Federation:
    settings = FederationSettings(
        dataset="digits",
        clients=15,
        participation=0.8,
        samples_per_client=20,
        rounds=rounds,
        local_steps=1,
        batch_size=8,
        lr=0.5,
        assumed_byzantine=0.25,
    )
    return Federation(settings, defense, load("digits"), 0, attack, 0.25)


DEFENSES = (FedAvg(), DPFedAvg(), NISS(num_shares=3), RSA(), Krum(), Median(), DPBFL(), LDPBFL(), Remembering())


@pytest.mark.parametrize("defense", DEFENSES, ids=lambda defense: defense.name)
def test_the_rule_that_is_shown_makes_what_the_server_then_makes(defense: Defense) -> None:
    """The server of none of these draws anything; messages stand in the clients' places, weights and all."""
    attack = Watching(asks=2)
    played = federation(defense, attack)
    for _ in range(3):
        before = played.global_model
        played.play()
        for expected in attack._expected[-2:]:
            torch.testing.assert_close(expected, played.global_model - before, rtol=1e-4, atol=1e-5)
    assert torch.equal(attack._views[0].setting.dim * torch.ones(1), torch.tensor([650.0]))


@pytest.mark.parametrize("defense", [FLAME(noise_level=1.0), NISS(num_shares=2, dropout=0.5)], ids=lambda d: d.name)
def test_what_the_server_or_the_channel_is_about_to_draw_is_not_shown(defense: Defense) -> None:
    """The server's noise of FLAME; the clients whose upload of NISS never arrives."""
    attack = Watching()
    playing = federation(defense, attack)
    for _ in range(3):
        before = playing.global_model
        playing.play()
        happened = playing.global_model - before
        assert float((attack._expected[-1] - happened).norm()) > 0.1 * float(happened.norm())


def test_asking_changes_nothing_that_is_real() -> None:
    for defense in (Remembering, FedAvg, DPBFL):
        models = []
        for asks in (0, 5):
            played = federation(defense(), Watching(asks=asks))
            for _ in range(3):
                played.play()
            models.append(played.global_model)
        assert torch.equal(*models)


def test_names_are_those_of_the_honest_rows_and_memory_lasts() -> None:
    attack = Watching()
    played = federation(Median(), attack)
    for index in range(3):
        transcript = played.play()
        view = attack._views[index]
        assert view.names is not None
        assert view.honest is not None
        assert not bool(played.is_byzantine[view.names].any())
        rows = torch.searchsorted(transcript.participants, view.names)
        assert torch.equal(view.honest, transcript.messages[rows])
    assert int(attack._views[-1].memory["rounds"]) == 3
    assert federation(Median(), attack)._memory == {}


def test_candidates_that_cannot_be_sent_are_made_sendable_as_real_ones_are() -> None:
    attack = Watching()
    federation(FedAvg(), attack).play()
    view = attack._views[0]
    assert view.honest is not None
    assert view.aggregate is not None
    crashed = torch.full_like(view.own, torch.nan)
    silent = torch.zeros_like(view.own)
    expected = view.aggregate(torch.cat([view.honest, silent]))
    assert torch.equal(view.aggregate(torch.cat([view.honest, crashed])), expected)
