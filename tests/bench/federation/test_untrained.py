"""Forgers whom nobody trains: the models are the same to the bit as where they train and it is thrown away."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from pydantic import PrivateAttr
from torch import Tensor

from attacks.adaptive import Adaptive
from attacks.alie import ALIE
from attacks.edge_case import EdgeCase
from bench import registry
from bench.base.classes import still_said
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.protocol import Alphabet, Defense, Delivered, LocalRound, ServerRound, Upload
from bench.submission.referee.attacks import RemoteForging
from bench.submission.referee.defense import RemoteDefense
from bench.threat import ByzantineAttack, ByzantineView
from defenses.dpbfl import DPBFL
from defenses.fedavg import FedAvg
from defenses.krum import Krum

BYZANTINE = 0.25
ATTACKS: dict[str, type[ByzantineAttack]] = {
    name: cls for name in registry.names("attack") if issubclass(cls := registry.get("attack", name), ByzantineAttack)
}
SPARED = [name for name, cls in ATTACKS.items() if not cls().needs_training(Alphabet.REAL)]
DEFENSES = registry.names("defense")
PROTOCOLS = ["fedavg", "krum", "rsa", "dpbfl", "dp_fedavg", "niss", "secure_aggregation", "foolsgold", "fltrust"]
"""Defenses of all kinds of upload, channel and state."""


def federation(defense: Defense, attack: ByzantineAttack, attacked: range | None = None, **changes: Any) -> Federation:
    settings = {
        "dataset": "digits",
        "clients": 16,
        "participation": 0.8,
        "samples_per_client": 20,
        "rounds": 3,
        "local_steps": 2,
        "batch_size": 8,
        "lr": 0.5,
        "assumed_byzantine": 0.15,
        **changes,
    }
    return Federation(FederationSettings(**settings), defense, load("digits"), 0, attack, BYZANTINE, attacked)


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[list[Tensor], int]]:
    """Models after each round, and how many updates were trained for them."""

    def play(make: Callable[[], Federation], all_train: bool = False) -> tuple[list[Tensor], int]:
        trained = 0
        with monkeypatch.context() as patch:
            if all_train:
                patch.setattr(ByzantineAttack, "needs_training", lambda *_: True)
            found, models = make(), []
            train = found._train

            def counted(clients: Tensor, out: Tensor | None = None) -> Any:
                nonlocal trained
                trained += len(clients)
                return train(clients, out)

            patch.setattr(found, "_train", counted)
            for _ in range(found.settings.rounds):
                found.advance()
                models.append(found.global_model)
        return models, trained

    return play


def same(played: Any, make: Callable[[], Federation]) -> tuple[int, int]:
    """Updates trained with and without; the models are the same to the bit."""
    models, spared = played(make)
    wanted, all_of_them = played(make, all_train=True)
    for model, other in zip(models, wanted, strict=True):
        assert torch.equal(model, other)
    return spared, all_of_them


def pairs() -> list[tuple[str, str]]:
    every_attack = [(attack, defense) for attack in SPARED for defense in PROTOCOLS]
    every_defense = [(attack, defense) for attack in ("alie", "free_rider") for defense in DEFENSES]
    return sorted({*every_attack, *every_defense})


@pytest.mark.parametrize(("attack", "defense"), pairs())
def test_the_same_bits_with_fewer_trained(attack: str, defense: str, played: Any) -> None:
    def make() -> Federation:
        return federation(registry.get("defense", defense)(), ATTACKS[attack]())

    spared, all_of_them = same(played, make)
    assert spared < all_of_them == 3 * 13


@pytest.mark.parametrize("defense", PROTOCOLS)
@pytest.mark.parametrize(
    "changes", [{"messages": "always"}, {"partition": "dirichlet"}, {"local_steps": None, "local_epochs": 1}], ids=str
)
def test_the_same_bits_under_other_settings(defense: str, changes: dict[str, Any], played: Any) -> None:
    spared, all_of_them = same(played, lambda: federation(registry.get("defense", defense)(), ALIE(), **changes))
    assert spared < all_of_them


@pytest.mark.parametrize("attacked", [range(1, 3), range(2), range(1, 2)], ids=str)
@pytest.mark.parametrize(
    ("defense", "momentum"),
    [*((name, 0.0) for name in PROTOCOLS), *((name, 0.9) for name in PROTOCOLS if name not in ("rsa", "dpbfl"))],
)
def test_the_same_bits_where_only_some_rounds_are_attacked(
    defense: str, momentum: float, attacked: range, played: Any
) -> None:
    """Who trains again later needs what it keeps: its model, its momentum."""
    cls = registry.get("defense", defense)
    made = federation(cls(), ALIE(), attacked, momentum=momentum)
    spared, all_of_them = same(played, lambda: federation(cls(), ALIE(), attacked, momentum=momentum))
    stops = attacked.stop < made.settings.rounds
    keeps = momentum > 0 or cls.keeps_models or cls.upload is not Defense.upload
    assert (spared < all_of_them) == (not (stops and keeps))


def test_a_round_whose_transcript_is_asked_for_trains_everybody() -> None:
    transcript = federation(FedAvg(), ALIE()).play()
    assert bool((transcript.updates != 0).any(dim=1).all())


class Watching(ByzantineAttack):
    """Keeps what it saw."""

    name: ClassVar[str] = "watching"

    needs: bool = True
    _seen: list[Tensor] = PrivateAttr(default_factory=list)

    def needs_own(self, alphabet: Alphabet) -> bool:
        return self.needs

    def forge(self, view: ByzantineView) -> Tensor:
        self._seen.append(view.own.clone())
        return view.own


@pytest.mark.parametrize("defense", [Krum(), FedAvg(), DPBFL()], ids=lambda defense: defense.name)
def test_an_attack_sees_its_own_messages_or_zeros_of_their_shape_and_type(defense: Defense) -> None:
    honest, blind = Watching(), Watching(needs=False)
    for attack in (honest, blind):
        found = federation(defense, attack)
        found.advance()
        found.advance()
    for own, zeros in zip(honest._seen, blind._seen, strict=True):
        assert (own.shape, own.dtype) == (zeros.shape, zeros.dtype)
        assert not bool(zeros.any())
    assert bool(honest._seen[1].any())


class Changed(ALIE):
    """Another `forge`, and no word about what it needs."""

    def forge(self, view: ByzantineView) -> Tensor:
        return -view.own


class Compared(Defense):
    """An upload that sees how many updates are zero, and says nothing of it."""

    def upload(self, local: LocalRound) -> Upload:
        zero = ~local.updates.any(dim=1)
        return Upload(local.updates + zero.sum())

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.mean(dim=0)


def test_who_changes_a_step_says_anew_what_it_needs(played: Any) -> None:
    for make in (lambda: federation(FedAvg(), Changed()), lambda: federation(Compared(), ALIE())):
        spared, all_of_them = same(played, make)
        assert spared == all_of_them


def test_strangers_have_their_clients_trained() -> None:
    """A submitted attack shows nothing but its own word; a submitted upload could count the zeros."""
    assert not still_said(RemoteForging, "needs_own", "forge")
    assert not RemoteDefense.uploads_apart()


def test_it_depends_on_parameters_and_on_the_alphabet() -> None:
    assert Adaptive().needs_training(Alphabet.REAL)
    assert not Adaptive().needs_training(Alphabet.TERNARY)
    assert EdgeCase().needs_training(Alphabet.REAL)
    assert not EdgeCase(radius=1.0).needs_training(Alphabet.REAL)
    assert all(registry.get("defense", name).uploads_apart() for name in DEFENSES)
    assert {"sign_flip", "fang", "backdoor", "label_flip", "siege"}.isdisjoint(SPARED)
