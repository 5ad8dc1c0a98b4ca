"""Membership cells: candidates that only membership tells apart, views that are typed, and records that repeat."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from bench.base.errors import BadInputError
from bench.data import Dataset, load
from bench.federation.engine import Federation
from bench.plays import membership as play
from bench.plays.cell import run_cell
from bench.plays.coalition import Coalition
from bench.plays.findings import Task, build_attack, build_defense
from bench.plays.membership import Candidates, Scene
from bench.records import Record, protocol_hash
from bench.runs.preflight import check_settings
from bench.suite import Cell, Suite
from bench.threat import MembershipAttack
from leaderboards.estimates import of_values

FEDERATION = {
    "dataset": "digits",
    "clients": 12,
    "samples_per_client": 10,
    "rounds": 10,
    "local_steps": 2,
    "batch_size": 10,
    "lr": 0.5,
}
GRADIENT, LOSS = {"name": "membership_gradient"}, {"name": "membership_loss"}
LIRA = {"name": "membership_lira", "on": "uploads", "rehearsals": 6}
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


def scene(cell: Cell, seed: int = 0) -> tuple[Scene, Candidates, Federation, Dataset]:
    assert cell.attack is not None
    attack, dataset = build_attack(cell.attack), load("digits")
    assert isinstance(attack, MembershipAttack)
    federation = Federation(cell.federation, build_defense(cell), dataset, seed)
    found = play.scene_of(cell, attack, seed)
    return found, play.candidates_of(federation, dataset, found.targets), federation, dataset


# ---------------------------------------------------------------------------------------------------------- candidates


def test_half_of_a_targets_candidates_are_its_own_and_half_are_nobodys() -> None:
    found, candidates, federation, dataset = scene(cell_of(GRADIENT, targets=5))
    held = federation.shards.indices
    everybodys = dataset.train.x[held.flatten()].flatten(1)
    for row, target in enumerate(found.targets.tolist()):
        mine = dataset.train.x[held[target]].flatten(1)
        inside, outside = (
            candidates.x[row][mask].flatten(1) for mask in (candidates.member[row], ~candidates.member[row])
        )
        assert sorted(map(tuple, inside.tolist())) == sorted(map(tuple, mine.tolist()))
        assert not bool((outside[:, None] == everybodys).all(dim=2).any())


def test_labels_do_not_tell_members_from_others() -> None:
    _, candidates, _, _ = scene(cell_of(GRADIENT, partition="dirichlet", alpha=1.0))
    for labels, member in zip(candidates.y, candidates.member, strict=True):
        assert labels[member].bincount(minlength=10).tolist() == labels[~member].bincount(minlength=10).tolist()


def test_no_image_stands_there_twice_and_none_is_of_the_test_split() -> None:
    _, candidates, _, dataset = scene(cell_of(GRADIENT))
    images = candidates.x.flatten(0, 1).flatten(1)
    unlike = len(dataset.train.x.flatten(1).unique(dim=0)) - len(dataset.train)  # the data set may repeat itself
    assert len(images.unique(dim=0)) >= len(images) + unlike
    places = (images[:, None] == dataset.train.x.flatten(1)).all(dim=2).any(dim=1)
    assert bool(places.all())


def test_a_place_among_the_candidates_says_nothing() -> None:
    """600 candidates, half of them members, first half of the places: 6 sigma of a hypergeometric count."""
    found = [scene(cell_of(GRADIENT), seed)[1].member for seed in range(5)]
    first = torch.cat(found)[:, :10].double().mean()
    assert abs(float(first) - 0.5) < 6 * (0.25 / 600 / 2) ** 0.5


def test_a_class_with_too_few_images_is_refused() -> None:
    labels, free = torch.tensor([0, 0, 1, 1, 1]), torch.tensor([False, False, False, True, True])
    with pytest.raises(ValueError, match="images that nobody holds is 0, but must be at least 1 of class 0"):
        play.outsiders(labels, torch.tensor([[0]]), free, seed=0)
    assert set(play.outsiders(labels, torch.tensor([[2], [2]]), free, seed=0).flatten().tolist()) == {3, 4}


# --------------------------------------------------------------------------------------------------------------- views


def test_an_attack_on_broadcasts_gets_no_upload() -> None:
    found, candidates, federation, dataset = scene(cell_of(LOSS))
    view = found.watch(federation, candidates, dataset)
    assert view.uploads == ()
    assert len(view.models) == FEDERATION["rounds"] + 1  # type: ignore[operator]
    assert torch.equal(view.models[-1], federation.global_model)


def test_a_server_gets_what_the_channel_delivers_and_no_more() -> None:
    found, candidates, federation, dataset = scene(cell_of(GRADIENT, {"name": "secure_aggregation"}))
    view = found.watch(federation, candidates, dataset)
    assert {int(seen.hidden_among[0]) for seen in view.uploads} == {12}
    assert all(bool((seen.estimate == seen.estimate[0]).all()) for seen in view.uploads)


def test_one_set_of_colluders_works_against_targets_that_are_none_of_them() -> None:
    found, *_ = scene(cell_of({**GRADIENT, "rho": 0.5}, targets=6))
    assert found.colluders.sum(dim=1).tolist() == [6] * 6  # round(0.5 * 11), to even
    assert bool((found.colluders == found.colluders[0]).all())
    assert not bool(found.colluders[:, found.targets].any())
    alone, *_ = scene(cell_of(GRADIENT, targets=6))
    assert torch.equal(alone.targets, found.targets)
    assert not bool(alone.colluders.any())


def test_a_rehearsal_holds_what_it_is_told_and_nothing_else_of_the_training_split() -> None:
    cell = cell_of(LOSS, targets=4)
    found, candidates, _, dataset = scene(cell)
    blank = replace(dataset, train=replace(dataset.train, x=torch.zeros_like(dataset.train.x)))
    inside = candidates.member
    told = (task_of(cell), found, candidates)
    first = play.rehearsed(told[0], dataset, *told[1:], 0, inside)
    assert torch.equal(first.models[-1], play.rehearsed(told[0], blank, *told[1:], 0, inside).models[-1])
    assert not torch.equal(first.models[-1], play.rehearsed(told[0], dataset, *told[1:], 0, ~inside).models[-1])
    assert not torch.equal(first.models[1], play.rehearsed(told[0], dataset, *told[1:], 1, inside).models[1])
    assert first.rehearse is None
    with pytest.raises(ValueError, match="10 of each target's"):
        play.rehearsed(told[0], dataset, *told[1:], 0, torch.ones_like(inside))


# ------------------------------------------------------------------------------------------------ what it catches


def areas(attack: dict[str, Any], defense: dict[str, Any] | None = None, **more: Any) -> np.ndarray[Any, Any]:
    return np.array([record_of(attack, defense, seed, **more).metrics["membership_auc"] for seed in range(3)])


@pytest.mark.parametrize("attack", [GRADIENT, LIRA])
def test_a_control_that_memorises_is_caught(attack: dict[str, Any]) -> None:
    found = areas(attack)
    assert found.mean() > 0.6
    assert found.min() > 0.55


@pytest.mark.parametrize("attack", [GRADIENT, LOSS, LIRA])
def test_under_noise_in_which_nothing_is_left_nobody_is_told(attack: dict[str, Any]) -> None:
    low, high = of_values(areas(attack, LOUD), "membership_auc").ends
    assert low <= 0.5 <= high


def test_a_record_says_how_fine_its_rates_are() -> None:
    found = record_of(LOSS)
    assert found.metrics["members"] == 120
    assert found.metrics["least_fpr"] == pytest.approx(1 / 120)
    assert found.roc[0][0] == 0
    assert found.roc[-1] == (1, 1)
    assert found.metrics["member_accuracy"] > found.metrics["other_accuracy"]
    assert len(found.model_dump_json()) < 10_000


# ------------------------------------------------------------------------------------------------ records that repeat


@pytest.mark.parametrize("attack", [GRADIENT, {**LIRA, "rehearsals": 4}])
def test_a_cell_gives_the_same_record_again(attack: dict[str, Any]) -> None:
    one, other = (record_of(attack, {"name": "niss", "num_shares": 2}, rounds=3) for _ in range(2))
    assert (one.metrics, one.roc, one.protocol) == (other.metrics, other.roc, other.protocol)


@pytest.mark.slow
def test_alone_in_parallel_or_resumed_the_records_are_the_same(tmp_path: Any, small_membership: Any) -> None:
    import bench

    def run(name: str, **more: Any) -> dict[tuple[Any, ...], float]:
        frame = bench.run(suite=str(small_membership), results=tmp_path / name, **more)
        chosen = frame[frame["kind"] == "membership"]
        keys = ["defense", "column", "seed"]
        return {tuple(row[keys]): row["membership_auc"] for _, row in chosen.iterrows()}

    alone = run("alone", workers=1)
    assert len(alone) == 8
    assert run("parallel", workers=2) == alone
    run("resumed", workers=1, attacks="membership_loss")
    assert run("resumed", workers=1) == alone


@pytest.fixture
def small_membership(tmp_path: Any) -> Any:
    path = tmp_path / "small.toml"
    lines = "\n".join(f"{key} = {value!r}" for key, value in {**FEDERATION, "rounds": 2}.items()).replace("'", '"')
    path.write_text(
        f'name = "small"\ntitle = "t"\nseeds = [0, 1]\n[federation]\n{lines}\n[privacy]\ntargets = 12\n'
        '[[defense]]\nname = "fedavg"\n[[defense]]\nname = "niss"\nnum_shares = 2\n'
        '[[attack]]\nname = "membership_loss"\n[[attack]]\nname = "membership_gradient"\n'
    )
    return path


def test_hashes_of_other_cells_have_nothing_of_it() -> None:
    """As they were before membership was a kind: what is published stays the record of its cell."""
    suite = Suite(
        name="small",
        title="t",
        seeds=[0],
        federation={"dataset": "digits", "clients": 10, "rounds": 3, "local_steps": 1, "lr": 0.1},
        defense=[{"name": "fedavg"}],
        attack=[{"name": "sign_flip", "byzantine": 0.2}, {"name": "dlg"}],
    )
    found = [(cell.kind, cell.hash, protocol_hash(cell, "d")) for cell in suite.cells()]
    assert found == PUBLISHED_HASHES


PUBLISHED_HASHES = [
    ("training", "f6361f5d7561", "327d84bf12ad25cc"),
    ("training", "b2fab5e5d70f", "48d1fe6061df317c"),
    ("inversion", "a07487d43df7", "3130fa3a434749a1"),
]


# ----------------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("attack", "changes", "words"),
    [
        (LOSS, {"samples_per_client": 60}, "samples_per_client is 60, but must be at most 49"),
        (LOSS, {"sizes": "lognormal"}, "sizes is 'lognormal', but must be 'equal'"),
        (GRADIENT, {"participation": 0.5}, "participation is 0.5, but must be 1 where uploads"),
        ({**GRADIENT, "rho": 0.5}, {}, "privacy.targets is 12, but must be at most 6"),
        ({**GRADIENT, "rho": 0.01}, {}, "rho is 0.01, but must be a share that rounds to at least one"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_one_line(attack: Any, changes: Any, words: str) -> None:
    with pytest.raises(BadInputError) as told:
        check_settings("small", [cell_of(attack, **changes)], None)
    assert words in str(told.value)
    assert "\n" not in str(told.value)


FORGING = {"byzantine": 0.25, "forging": [{"name": "ascent"}, {"name": "sign_flip"}], "privacy": {"targets": 6}}


def coalition(attack: dict[str, Any]) -> list[Cell]:
    """The cells of a quarter of the clients: looking on, then under each of two forging attacks."""
    suite = Suite(
        name="small",
        title="t",
        seeds=[0],
        training=False,
        federation=FEDERATION,
        defense=[{"name": "fedavg"}],
        attack=[{**attack, **FORGING}],
    )
    return suite.cells()


def played(cell: Cell, seed: int = 0) -> Record:
    record = run_cell(task_of(cell, seed)).record
    assert (record.status, record.error) == ("ok", None)
    return record


def test_a_coalition_looks_on_beside_each_that_forges() -> None:
    columns = [
        "membership_loss b=0.25 + looking",
        "membership_loss b=0.25 + ascent",
        "membership_loss b=0.25 + sign_flip",
    ]
    assert [cell.column for cell in coalition(LOSS)] == columns
    assert [cell.rho for cell in coalition(GRADIENT)] == [0.25] * 3  # colluders are who forges


def test_the_targets_of_a_coalition_are_honest_and_the_same_whatever_is_forged() -> None:
    looking, forging, _ = coalition(LOSS)
    dataset = load("digits")
    for seed in range(4):
        members = [
            Coalition.of(cell).federation(cell.federation, build_defense(cell), dataset, seed).is_byzantine
            for cell in (looking, forging)
        ]
        scenes = [
            play.scene_of(cell, build_attack(cell.attack), seed, mine)
            for cell, mine in zip((looking, forging), members, strict=True)
        ]
        assert torch.equal(scenes[0].targets, scenes[1].targets)
        assert int(members[0].sum()) == 3
        assert not bool(members[0][scenes[0].targets].any())
        assert torch.equal(scenes[0].colluders, members[0].expand(6, 12))


def test_forging_moves_the_model_and_looking_on_does_not() -> None:
    looking, ascending, flipping = (played(cell).metrics for cell in coalition(LOSS))
    plain = record_of(LOSS, targets=12).metrics
    assert looking["model_accuracy"] == plain["model_accuracy"]
    assert ascending["model_accuracy"] < looking["model_accuracy"]
    assert flipping["model_accuracy"] < looking["model_accuracy"]
    assert looking["members"] == 6 * 10


def test_who_is_asked_about_is_pushed_up_where_nobody_holds_it() -> None:
    """The loss of candidates that nobody holds rises by more than that of those whose holders take it down."""
    looking, ascending, _ = (played(cell).metrics for cell in coalition(LOSS))
    lost = {part: looking[part] - ascending[part] for part in ("member_accuracy", "other_accuracy")}
    assert lost["other_accuracy"] > lost["member_accuracy"]


def test_members_of_a_coalition_forge_in_their_rehearsals_too() -> None:
    _, ascending, _ = coalition({"name": "membership_lira", "on": "model", "rehearsals": 4})
    dataset, task = load("digits"), task_of(ascending)
    federation = Coalition.of(ascending).federation(ascending.federation, build_defense(ascending), dataset, 0)
    attack = build_attack(ascending.attack)
    assert isinstance(attack, MembershipAttack)
    at = play.scene_of(ascending, attack, 0, federation.is_byzantine)
    asked = play.candidates_of(federation, dataset, at.targets)
    models = play.rehearsed(task, dataset, at, asked, 0, asked.member).models
    honest = replace(at, byzantine=torch.zeros(12, dtype=torch.bool))
    assert not torch.equal(models[-1], play.rehearsed(task, dataset, honest, asked, 0, asked.member).models[-1])
    assert played(ascending).metrics == played(ascending).metrics
