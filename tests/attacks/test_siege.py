"""The siege: as harmful as its worst member, breaks what only a mixture breaks, spares what nobody moves."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from attacks.oblivious_siege import ObliviousSiege
from attacks.siege import Siege
from attacks.sign_flip import SignFlip
from bench import registry
from bench.attacking.campaigns import OpposingVotes
from bench.data import Dataset, load
from bench.federation.settings import FederationSettings
from bench.plays import training
from bench.plays.findings import Findings, Task
from bench.protocol import Alphabet, Defense, Delivered, ServerRound, Setting
from bench.suite import Cell, Part
from bench.threat import ByzantineAttack, ByzantineView, Ensemble

SETTINGS = FederationSettings(
    dataset="digits", clients=10, samples_per_client=40, rounds=12, local_steps=1, batch_size=20, lr=1.0,
    assumed_byzantine=0.2, eval_every=6,
)  # fmt: skip


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load("digits")


def task(defense: str, attack: str, **parameters: Any) -> Task:
    cell = Cell(
        kind="training", label=defense, defense=Part(name=defense, version=1, parameters={}),
        attack=Part(name=attack, version=1, parameters=parameters), federation=SETTINGS, byzantine=0.2,
    )  # fmt: skip
    return Task("mine", "", cell, 0, 1, None, 20.0)


def besieged(digits: Dataset, monkeypatch: pytest.MonkeyPatch, defense: Defense, attack: Ensemble) -> Findings:
    """A cell of a defense and an ensemble that need not be registered."""
    monkeypatch.setattr(training, "build_defense", lambda cell: defense)
    monkeypatch.setattr(training, "build_attack", lambda part: attack)
    return training.play(task("fedavg", "siege"), digits)


@pytest.mark.parametrize("siege", [Siege(), ObliviousSiege()], ids=lambda siege: siege.name)
def test_it_has_no_parameters_and_its_members_see_no_more_than_it_does(siege: Ensemble) -> None:
    assert not type(siege).model_fields
    assert all(siege.omniscient or not member.omniscient for member in siege.members().values())
    assert not any(isinstance(member, Ensemble) for member in siege.members().values())


def test_the_record_is_that_of_the_member_which_harmed_the_attackers_images_most(digits: Dataset) -> None:
    found = training.play(task("median", "siege"), digits)
    assert found.siege is not None
    members = found.siege.members
    assert members[found.siege.chosen].validation == min(one.validation for one in members.values())
    assert found.metrics["accuracy"] == members[found.siege.chosen].accuracy
    assert found.siege.rounds == SETTINGS.rounds * len(Siege().members())
    assert found.siege.evaluations > 60 * SETTINGS.rounds, "adaptive alone tries as many"
    alone = training.play(task("median", "sign_flip", on="model"), digits)
    assert alone.siege is None
    assert members["sign_flip on=model"].accuracy == alone.metrics["accuracy"], "a member plays what it plays alone"


class Moody(Defense):
    """Follows small flips in even rounds and large ones in odd rounds, a quarter as far as the honest lead it."""

    def aggregate(self, delivered: Delivered, round: ServerRound) -> Tensor:
        messages = delivered.messages
        norms = torch.linalg.vector_norm(messages, dim=1)
        large = norms > 2 * norms.median()
        honest = messages[~large].mean(dim=0)
        against = messages @ honest < 0
        taken = against & (large if round.index % 2 else ~large)
        if not bool(taken.any()):
            return round.global_model + honest
        led = messages[taken].mean(dim=0)
        return round.global_model + led * (torch.linalg.vector_norm(honest) / torch.linalg.vector_norm(led)) / 4


class Flips(Ensemble):
    """Two members, each of which Moody follows in half of all rounds, and the look ahead over both."""

    omniscient = measures_damage = True

    def members(self) -> Mapping[str, ByzantineAttack]:
        small, large = SignFlip(c=1.0), SignFlip(c=8.0)
        whole = Siege().members()["look ahead"]
        return {"small": small, "large": large, "both": whole.model_copy(update={"arsenal": {"s": small, "l": large}})}

    def forge(self, view: ByzantineView) -> Tensor:
        raise AssertionError("an ensemble is played member by member")


def test_what_stands_every_attack_but_not_their_mixture_falls(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = besieged(digits, monkeypatch, Moody(), Flips())
    assert found.siege is not None
    members = found.siege.members
    assert found.siege.chosen == "both"
    assert members["both"].accuracy < min(members["small"].accuracy, members["large"].accuracy) - 0.1


class Stored(Defense):
    """Gives the same model whatever it is sent."""

    def aggregate(self, delivered: Delivered, round: ServerRound) -> Tensor:
        return torch.linspace(-1, 1, len(round.global_model), dtype=round.global_model.dtype)


def test_what_no_message_moves_is_not_called_broken(digits: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    found = besieged(digits, monkeypatch, Stored(), Siege())
    clean = besieged(digits, monkeypatch, Stored(), Flips())
    assert found.siege is not None
    assert {one.accuracy for one in found.siege.members.values()} == {clean.metrics["accuracy"]}


class Unbounded(Defense):
    """Its model grows until no number holds it."""

    def aggregate(self, delivered: Delivered, round: ServerRound) -> Tensor:
        return 1e20 * (round.global_model + delivered.messages.mean(dim=0))


def test_a_run_that_diverges_is_the_worst_and_its_record_says_under_what(
    digits: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = besieged(digits, monkeypatch, Unbounded(), Flips())
    assert found.status == "diverged"
    assert found.siege is not None
    assert found.error is not None
    assert found.error.startswith(f"under {found.siege.chosen}: ")


def test_both_sieges_are_attacks_like_others() -> None:
    assert {registry.get("attack", name) for name in ("siege", "oblivious_siege")} == {Siege, ObliviousSiege}
    assert replace(task("fedavg", "siege"), seed=1).cell.attack == Part(name="siege", version=1, parameters={})


def votes_view(alphabet: Alphabet, honest: Tensor, own: Tensor, memory: dict[str, Tensor]) -> ByzantineView:
    draws, setting = torch.Generator().manual_seed(0), Setting(10, 10, honest.shape[1], 5, 0.1, None, 0.2, 1e-6)
    broadcast = torch.zeros(honest.shape[1], dtype=torch.float64)
    return ByzantineView(own, honest, broadcast, alphabet, draws, setting, memory)


def test_votes_are_against_all_that_was_voted_so_far_and_messages_minus_its_mean() -> None:
    """By hand: in the second round the first one still counts."""
    rounds = [torch.tensor([[3.0, -1.0], [1.0, -1.0]]).double(), torch.tensor([[-1.0, -1.0], [-1.0, 5.0]]).double()]
    own = [torch.tensor([[2.0, -1.0]]).double(), torch.tensor([[-1.0, -1.0]]).double()]
    memory: dict[str, Tensor] = {}
    sent = [
        OpposingVotes().forge(votes_view(Alphabet.REAL, *round_, memory)) for round_ in zip(rounds, own, strict=True)
    ]
    torch.testing.assert_close(sent[0], torch.tensor([[-2.0, 1.0]]).double())
    torch.testing.assert_close(sent[1], torch.tensor([[-0.5, 0.0]]).double())  # of sums 1 and 0 over two rounds
    memory = {}
    signs = [torch.sign(part).to(torch.int8) for part in (*rounds, *own)]
    votes = [OpposingVotes().forge(votes_view(Alphabet.TERNARY, signs[at], signs[2 + at], memory)) for at in (0, 1)]
    assert votes[0].tolist() == [[-1, 1]]
    assert votes[1].tolist() == [[1, 1]]  # where the sum is 0 a vote for it harms no less than one against it
    assert votes[1].dtype == torch.int8
