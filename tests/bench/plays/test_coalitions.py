"""Coalitions: the server's clients are Byzantine, its targets are honest, and forging changes what is seen."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.base.errors import BadInputError
from bench.data import Dataset
from bench.plays.cell import run_cell
from bench.plays.coalition import Coalition
from bench.plays.findings import Task, build_attack, build_defense
from bench.plays.inversion import Watched, watch
from bench.records import Record
from bench.suite import Cell, load
from bench.threat import PrivacyAttack

CLIENTS, SHARE, TARGETS = 10, 0.4, 3
SUITE = """
name = "both"
title = "both at once"
seeds = [0]
training = false

[federation]
dataset = "digits"
model = "softmax"
clients = {clients}
samples_per_client = 4
rounds = 2
local_steps = 1
batch_size = 2
lr = 0.5
dtype = "float64"

[privacy]
targets = {targets}
trained = 3

[[defense]]
name = "{defense}"
{row}
[[attack]]
name = "{attack}"
byzantine = {share}
{more}
"""
SIGN_FLIP = '[[attack.forging]]\nname = "sign_flip"\n'


@pytest.fixture
def cells(tmp_path: Path) -> Callable[..., list[Cell]]:
    """The suite's cells, the one that looks on first."""

    def made(defense: str = "fedavg", attack: str = "analytic", more: str = SIGN_FLIP, **change: Any) -> list[Cell]:
        told = {"clients": CLIENTS, "targets": TARGETS, "share": SHARE, "row": "", **change}
        path = tmp_path / "suite.toml"
        path.write_text(SUITE.format(defense=defense, attack=attack, more=more, **told), encoding="utf-8")
        return load(str(path)).cells()

    return made


def seen(cell: Cell, dataset: Dataset, seed: int = 0) -> Watched:
    assert cell.attack is not None
    attack = build_attack(cell.attack)
    assert isinstance(attack, PrivacyAttack)
    federation = Coalition.of(cell).federation(cell.federation, build_defense(cell), dataset, seed)
    return watch(federation, dataset, attack, cell.targets, cell.trained)


def record(cell: Cell, seed: int = 0) -> Record:
    return run_cell(Task("both", "setting", cell, seed, 1, None, 20.0)).record


def test_a_suite_has_the_coalition_that_looks_on_beside_each_that_forges(cells: Callable[..., list[Cell]]) -> None:
    more = SIGN_FLIP + '[[attack.forging]]\nname = "alie"\nz = [1.0, 2.0]\n'
    assert [cell.column for cell in cells(more=more)] == [
        "analytic b=0.4 + looking",
        "analytic b=0.4 + sign_flip",
        "analytic z=1.0 b=0.4 + alie",
        "analytic z=2.0 b=0.4 + alie",
    ]
    assert [cell.rho for cell in cells(attack="collusion")] == [SHARE, SHARE]  # colluders are who forges


def test_targets_are_honest_and_the_same_whatever_is_forged(cells: Callable[..., list[Cell]], digits: Dataset) -> None:
    looking, forging = cells()
    for seed in range(5):
        one, other = seen(looking, digits, seed), seen(forging, digits, seed)
        federation = Coalition.of(forging).federation(forging.federation, build_defense(forging), digits, seed)
        assert not bool(federation.is_byzantine[one.view.targets].any())
        assert torch.equal(one.view.targets, other.view.targets)
        assert torch.equal(one.truth, other.truth)


def test_who_looks_on_changes_nothing(cells: Callable[..., list[Cell]], digits: Dataset) -> None:
    """The broadcasts are those of a federation of honest clients, and forging makes others."""
    looking, forging = cells()
    honest = looking.model_copy(update={"byzantine": 0.0, "trained": 0})
    rounds = seen(looking.model_copy(update={"trained": 0}), digits).view.rounds
    assert torch.equal(rounds[0].broadcast, seen(honest, digits).view.rounds[0].broadcast)
    assert record(looking).metrics["model_accuracy"] > record(forging).metrics["model_accuracy"]
    assert record(looking).byzantine is None
    counted = record(forging).byzantine
    assert counted is not None
    assert (counted.clients, counted.absent) == (4, 0)


def test_forgers_take_their_own_messages_out_of_a_sum(cells: Callable[..., list[Cell]], digits: Dataset) -> None:
    """All others forge: what is left of a sum is the target's message, whatever they sent."""
    _, forging = cells("secure_aggregation", share=0.9, targets=1)
    watched = seen(forging, digits)
    for view in watched.view.rounds:
        assert view.hidden_among.tolist() == [1]
    target = watched.view.targets
    assert watched.last.messages[target].abs().sum() > 0
    torch.testing.assert_close(watched.view.rounds[-1].estimate, watched.last.messages[target], rtol=0, atol=1e-9)


def test_what_they_exchanged_with_a_target_is_taken_out_of_its_message(
    cells: Callable[..., list[Cell]], digits: Dataset
) -> None:
    """With one factor for all, all shares known: nothing is left of the noise but what tau draws."""
    looking, _ = cells("niss", share=0.9, targets=1, row="num_shares = 9\ntau_squared = 0.0\n")
    watched, attack = seen(looking, digits), build_attack(looking.attack)
    assert isinstance(attack, PrivacyAttack)
    last = watched.view.rounds[-1]
    assert last.num_got is not None
    assert last.num_got.tolist() == [9]
    update = watched.last.updates[watched.view.targets]
    noise = (last.estimate - update / CLIENTS).abs().mean()
    assert (attack.estimates(watched.view)[-1] - update / CLIENTS).abs().mean() < 1e-3 * noise


def test_the_control_is_nobody_s_victim(cells: Callable[..., list[Cell]]) -> None:
    """Its model is trained by honest clients, so that forging cannot make the comparison fail."""
    looking, forging = (record(cell) for cell in cells("median"))
    assert looking.control_psnr == forging.control_psnr
    assert record(cells("median")[1]).metrics == forging.metrics


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"more": '[[attack.forging]]\nname = "dlg"\n'}, "'dlg' forges nothing in one run"),
        ({"more": '[[attack.forging]]\nname = "siege"\n'}, "'siege' forges nothing in one run"),
        ({"more": "[[attack.forging]]\nz = 1.0\n"}, "needs the name of a Byzantine attack"),
        ({"more": '[[attack.forging]]\nname = "alie"\nzz = 1.0\n'}, "zz"),
        ({"targets": 7}, "at most the 6 honest clients"),
        ({"attack": "collusion", "more": "rho = 0.3\n"}, "rho is 0.3, but must be byzantine, 0.4"),
        ({"share": 0.01}, "byzantine"),
    ],
)
def test_what_is_no_coalition_is_refused_in_one_line(
    cells: Callable[..., list[Cell]], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(BadInputError, match=words) as caught:
        cells(**change)
    assert "\n" not in str(caught.value)
