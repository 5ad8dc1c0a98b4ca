"""Property cells: shares by hand and in closed form, views that are typed, and nothing learnt where all is noise."""

from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.base.errors import BadInputError
from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.plays import property as play
from bench.plays.cell import run_cell
from bench.plays.findings import Task, build_attack, build_defense
from bench.plays.membership import Scene, scene_of
from bench.records import Record
from bench.runs.preflight import check_settings
from bench.suite import Cell, Suite
from bench.threat import PropertyAttack
from leaderboards.estimates import of_values

FEDERATION = {
    "dataset": "digits",
    "partition": "dirichlet",
    "alpha": 1.0,
    "clients": 12,
    "samples_per_client": 10,
    "rounds": 6,
    "local_steps": 1,
    "batch_size": 10,
    "lr": 0.5,
}
GRADIENTS, REHEARSALS = ({"name": "label_shares", "by": by} for by in ("gradients", "rehearsals"))
LOUD = {"name": "dp_fedavg", "epsilon": 1e-4, "zeta": 1e-3}


def cell_of(attack: dict[str, Any], defense: dict[str, Any] | None = None, targets: int = 12, **changes: Any) -> Cell:
    suite = Suite(
        name="small",
        title="t",
        seeds=[0],
        federation=FEDERATION | changes,
        privacy={"targets": targets},
        defense=[defense or {"name": "fedavg"}],
        attack=[attack],
    )
    return suite.cells()[-1]


def task_of(cell: Cell, seed: int = 0) -> Task:
    return Task("small", "s", cell, seed, threads=1, data_root=None, recovered_psnr=20.0)


def record_of(attack: dict[str, Any], defense: dict[str, Any] | None = None, seed: int = 0, **more: Any) -> Record:
    record = run_cell(task_of(cell_of(attack, defense, **more), seed)).record
    assert (record.status, record.error) == ("ok", None)
    return record


def scene(cell: Cell, seed: int = 0) -> tuple[Scene, Federation, Dataset]:
    assert cell.attack is not None
    attack, dataset = build_attack(cell.attack), load("digits")
    assert isinstance(attack, PropertyAttack)
    return scene_of(cell, attack, seed), Federation(cell.federation, build_defense(cell), dataset, seed), dataset


# ------------------------------------------------------------------------------------------------------------- metrics


def test_the_distance_and_what_is_explained_by_hand() -> None:
    """A client with seven 0s and three 1s of three classes, guessed to hold the population's thirds."""
    truth, guess = torch.tensor([[0.7, 0.3, 0.0]]), torch.tensor([[1 / 3, 1 / 3, 1 / 3]])
    blind = float(play.total_variation(guess, truth))
    assert blind == pytest.approx(11 / 30)  # (11 / 30 + 1 / 30 + 10 / 30) / 2
    told = float(play.total_variation(torch.tensor([[0.6, 0.4, 0.0]]), truth))
    assert play.explained(told, blind) == pytest.approx(1 - 0.1 / (11 / 30))
    assert play.explained(0.0, 0.0) == 0


def test_the_blind_guess_is_the_histogram_of_the_training_split() -> None:
    found, federation, dataset = scene(cell_of(GRADIENTS, targets=5))
    population = [float((dataset.train.y == label).double().mean()) for label in range(10)]
    held = dataset.train.y[federation.shards.indices[found.targets]]
    distances = [
        sum(abs(float((row == label).double().mean()) - population[label]) for label in range(10)) / 2 for row in held
    ]
    metrics = record_of(GRADIENTS, targets=5).metrics
    assert metrics["blind_tv"] == pytest.approx(sum(distances) / 5)
    assert metrics["explained"] == pytest.approx(1 - metrics["label_tv"] / metrics["blind_tv"])


def test_one_full_batch_step_at_zero_tells_the_shares_exactly() -> None:
    """The bias's gradient is 1 / C - shares there, whatever the images are."""
    assert record_of(GRADIENTS, rounds=1).metrics["label_tv"] < 1e-5


# --------------------------------------------------------------------------------------------------------------- views


def test_a_view_has_what_the_server_knows_and_no_shard() -> None:
    found, federation, dataset = scene(cell_of(GRADIENTS, {"name": "secure_aggregation"}))
    view = play.watch(found, federation, dataset, play.histogram(dataset))
    names = {"facts", "x", "y", "population", "models", "uploads", "rehearse"}
    assert {field.name for field in fields(view)} == names
    assert torch.equal(view.x, dataset.validation.x)
    assert len(view.uploads) == len(view.models) - 1 == FEDERATION["rounds"]
    assert {int(seen.hidden_among[0]) for seen in view.uploads} == {12}
    assert all(bool((seen.estimate == seen.estimate[0]).all()) for seen in view.uploads)


def test_a_rehearsal_is_of_the_attackers_own_images() -> None:
    cell = cell_of(GRADIENTS, targets=4)
    found, _, dataset = scene(cell)
    blank = replace(dataset, train=replace(dataset.train, x=torch.zeros_like(dataset.train.x)))
    view, shares = play.rehearsed(task_of(cell), dataset, found, 0)
    again, same = play.rehearsed(task_of(cell), blank, found, 0)
    assert torch.equal(view.models[-1], again.models[-1])
    assert torch.equal(shares, same)
    assert shares.sum(dim=1).tolist() == pytest.approx([1] * 4)
    assert view.rehearse is None
    assert not torch.equal(shares, play.rehearsed(task_of(cell), dataset, found, 1)[1])


# ------------------------------------------------------------------------------------------------ what it catches


def told(attack: dict[str, Any], defense: dict[str, Any] | None = None, **more: Any) -> np.ndarray[Any, Any]:
    return np.array([record_of(attack, defense, seed, **more).metrics["explained"] for seed in range(3)])


@pytest.mark.parametrize("attack", [GRADIENTS, REHEARSALS])
@pytest.mark.parametrize("defense", [None, {"name": "sign_majority", "server_lr": 0.1}])
def test_shares_are_told_of_what_is_not_hidden(attack: dict[str, Any], defense: dict[str, Any] | None) -> None:
    assert told(attack, defense).min() > 0.3


@pytest.mark.parametrize("attack", [GRADIENTS, REHEARSALS])
def test_under_noise_in_which_nothing_is_left_nothing_is_explained(attack: dict[str, Any]) -> None:
    low, high = of_values(told(attack, LOUD), "explained").ends
    assert low <= 0 <= high
    assert high < 0.2


@pytest.mark.parametrize("attack", [GRADIENTS, {**REHEARSALS, "rehearsals": 2}])
def test_a_cell_gives_the_same_record_again(attack: dict[str, Any]) -> None:
    one, other = (record_of(attack, {"name": "niss", "num_shares": 2}, rounds=3) for _ in range(2))
    assert (one.metrics, one.protocol) == (other.metrics, other.protocol)


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("attack", "changes", "words"),
    [
        (GRADIENTS, {"samples_per_client": None}, "samples_per_client is None, but must be given"),
        (GRADIENTS, {"sizes": "lognormal"}, "sizes is 'lognormal', but must be 'equal' where property is inferred"),
        (GRADIENTS, {"participation": 0.5}, "participation is 0.5, but must be 1 where uploads"),
        ({**GRADIENTS, "rho": 0.5}, {}, "privacy.targets is 12, but must be at most 6"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(attack: Any, changes: Any, words: str) -> None:
    with pytest.raises(BadInputError) as refused:
        check_settings("small", [cell_of(attack, **changes)], None)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
