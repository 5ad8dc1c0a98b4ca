"""An attack that starts and stops: outside of its rounds, Byzantine clients are honest."""

from collections.abc import Callable
from typing import Any, ClassVar

import pytest
import torch
from pydantic import Field
from torch import Tensor

from attacks.label_flip import LabelFlip
from bench.base.errors import BadInputError
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.plays.cell import run_cell
from bench.suite import Cell, Suite
from bench.threat import ByzantineAttack, ByzantineView, RoundTranscript
from defenses.dp_fedavg import DPFedAvg
from defenses.fedavg import FedAvg

Make = Callable[..., Any]
SETTINGS = FederationSettings(
    dataset="digits", clients=8, samples_per_client=12, rounds=5, local_steps=2, batch_size=5, lr=0.1
)


class Sevens(ByzantineAttack):
    name: ClassVar[str] = "sevens"
    views: list[Any] = Field(default_factory=list)

    def forge(self, view: ByzantineView) -> Tensor:
        self.views.append(view)
        return torch.full_like(view.own, 7.0)


class AllSeeing(Sevens):
    omniscient: ClassVar[bool] = True


def federation(attack: ByzantineAttack | None, attacked: range | None = None, **changes: Any) -> Federation:
    settings = SETTINGS.model_copy(update=changes)
    return Federation(settings, FedAvg(), load("digits"), 0, attack, 0.25 if attack else 0.0, attacked)


def transcripts(attack: ByzantineAttack | None, attacked: range | None = None) -> list[RoundTranscript]:
    return list(federation(attack, attacked).rounds())


def test_messages_are_forged_in_the_rounds_of_the_attack_alone() -> None:
    attack = Sevens()
    played, clean = transcripts(attack, range(1, 3)), transcripts(None)
    assert len(attack.views) == 2
    forged = [int((one.messages == 7.0).all(dim=1).sum()) for one in played]
    assert forged == [0, 2, 2, 0, 0]
    torch.testing.assert_close(played[0].messages, clean[0].messages)
    for one in played:
        honest = ~(one.messages == 7.0).all(dim=1)
        torch.testing.assert_close(one.messages[honest], one.updates[honest], rtol=0, atol=0)


@pytest.mark.parametrize("kind", [Sevens, AllSeeing])
def test_before_its_first_round_the_run_is_the_clean_one(kind: type[Sevens]) -> None:
    attacked, clean = federation(kind(), range(3, 5)), federation(None)
    for index in range(5):
        attacked.advance()
        clean.advance()
        same = torch.allclose(attacked.global_model, clean.global_model, rtol=0, atol=1e-6)
        assert same is (index < 3)


def test_honest_rounds_of_byzantine_clients_have_the_defenses_noise() -> None:
    """What they send outside of the attack went through clipping and noise as everybody's did."""
    found = Federation(SETTINGS, DPFedAvg(epsilon=1.0), load("digits"), 0, Sevens(), 0.25, range(4, 5))
    clean = Federation(SETTINGS, DPFedAvg(epsilon=1.0), load("digits"), 0)
    torch.testing.assert_close(found.play().messages, clean.play().messages)


def test_data_is_poisoned_in_the_rounds_of_the_attack_alone() -> None:
    found = federation(LabelFlip(), range(1, 2))
    clean, flipped = federation(None), federation(LabelFlip())
    byzantine = found.is_byzantine
    for index in range(3):
        for other in (clean, flipped):
            other.global_model = found.global_model
        updates, honest, poisoned = (one.play().updates for one in (found, clean, flipped))
        torch.testing.assert_close(updates, poisoned if index == 1 else honest)
        assert not torch.allclose(honest[byzantine], poisoned[byzantine], atol=1e-3)


# ---------------------------------------------------------------------------------------------------------- its cells


def suite(**attack: Any) -> Suite:
    content = {"name": "sign_flip", "byzantine": [0.2, 0.4], **attack}
    return Suite(
        name="small", title="t", seeds=(0,), federation=SETTINGS.model_dump(), defense=[{"name": "median"}],
        attack=[content],
    )  # fmt: skip


@pytest.mark.parametrize(
    ("given", "column", "rounds"),
    [
        ({"start": 2, "stop": 4}, "sign_flip b=0.2 rounds 2-4", range(1, 4)),
        ({"stop": 4}, "sign_flip b=0.2 rounds 1-4", range(4)),
        ({"start": 5}, "sign_flip b=0.2 from round 5", range(4, 5)),
        ({}, "sign_flip b=0.2", range(5)),
    ],
)
def test_a_cells_column_says_when_it_is_attacked(given: dict[str, int], column: str, rounds: range) -> None:
    clean, cell, _ = suite(**given).cells()
    assert (cell.column, cell.attacked_rounds) == (column, rounds)
    assert clean.column == "clean"
    assert Cell.model_validate_json(cell.model_dump_json()) == cell
    assert {key: cell.content[key] for key in ("start", "stop") if key in cell.content} == given
    assert (cell.hash == suite().cells()[1].hash) == (not given)  # an attack of all rounds is hashed as it ever was


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"start": 4, "stop": 3}, "start is 4, but must be at most 3, the round of stop"),
        (
            {"start": 6},
            "suite 'small', row 'median', .*: start is 6, but must be at most 5, the rounds of the training",
        ),
        ({"start": 0}, "greater than or equal to 1"),
        ({"stop": True}, "a number, not true"),
        ({"name": "dlg", "byzantine": [], "start": 2}, "attack 'dlg' forges nothing and takes no start or stop"),
    ],
)
def test_impossible_rounds_are_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises((BadInputError, ValueError), match=told):
        suite(**given).cells()


def test_a_record_counts_the_clients_that_attack(make_cell: Make, make_task: Make) -> None:
    """Three rounds, two Byzantine clients, of which the last round alone is attacked."""
    entry = {"name": "sign_flip", "byzantine": 2 / 9, "start": 3}
    record = run_cell(make_task(make_cell({"name": "median"}, entry))).record
    assert record.status == "ok"
    assert record.byzantine is not None
    assert (record.byzantine.most, record.byzantine.absent) == (2, 2)
