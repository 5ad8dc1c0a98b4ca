"""The runner: what is missing runs and nothing else; the same records whatever runs beside them, in whatever order."""

import itertools
import os
import signal
import subprocess
import sys
import tomllib
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch

from bench import registry
from bench.base import locks
from bench.base.errors import BadInputError
from bench.data import DatasetSpec, Source, load
from bench.plays.cell import Outcome, lost_outcome
from bench.plays.findings import Task
from bench.records import Record, Store
from bench.records import identity as records
from bench.runs import runner
from bench.suite import Suite
from tests.bench.helpers.processes import children, comes_true, is_running
from tests.bench.helpers.stored import contents
from tests.bench.helpers.suites import TINY


def suite(**changes: Any) -> Suite:
    """Two defenses against a forging and a curious attack, two seeds: 12 cells."""
    given: dict[str, Any] = tomllib.loads(TINY.format(seeds="[0, 1]", clients=8, assumed_byzantine=0.25))
    given |= {
        "defense": [{"name": "dp_fedavg"}, {"name": "krum", "federation": {"lr": 1.0}}],
        "attack": [
            {"name": "sign_flip", "byzantine": [0.0, 0.25]},
            {"name": "collusion", "rho": 1.0, "starts": 1, "evaluations": 20},
        ],
    }
    return Suite(**{**given, **changes})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", "tiny")


def plan(store: Store, fresh: bool = False, **changes: Any) -> runner.Plan:
    asked = suite(**changes)
    return runner.plan(asked, asked.cells(), store, None, fresh)


def run(tasks: list[Task], store: Store, workers: int = 1) -> list[Record]:
    return list(runner.run(tasks, store, workers))


def place(task: Task) -> tuple[str, str, int]:
    return task.cell.label, task.cell.column, task.seed


def files(folder: Path) -> dict[Path, int]:
    """When each file below a folder was written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """The tiny suite, run in one process."""
    store = Store(tmp_path_factory.mktemp("serial"), "tiny")
    assert len(run(plan(store).tasks, store)) == 12
    return store


# --------------------------------------------------------------------------------------------------------------- plan


def test_without_records_everything_is_missing(store: Store) -> None:
    found = plan(store)
    assert (len(found.tasks), found.present, found.total) == (12, [], 12)
    columns = ("clean", "sign_flip b=0.25", "collusion rho=1")
    assert {place(task) for task in found.tasks} == set(itertools.product(("dp_fedavg", "krum"), columns, (0, 1)))
    assert not store.folder.exists()


def test_a_task_carries_what_its_record_needs(store: Store) -> None:
    given: dict[str, Any] = {"ranking": {"recovered_psnr": 15.0}, "threads": 2, "seeds": [9]}
    (task, *_) = plan(store, **given).tasks
    assert (task.suite, task.seed, task.threads, task.recovered_psnr) == ("tiny", 9, 2, 15.0)
    assert task.setting == records.setting_hash(suite(**given), load("digits").digest)


def test_cells_that_share_a_control_stand_side_by_side_long_kinds_first(store: Store) -> None:
    defenses = [{"name": "dp_fedavg"}, {"name": "krum"}, {"name": "rsa", "federation": {"lr_decay": 5.0}}]
    attacks = [
        {"name": "sign_flip", "byzantine": [0.0, 0.25]},
        {"name": "audit", "runs": 10},
        {"name": "collusion", "rho": [0.5, 1.0]},
        {"name": "dlg"},
    ]
    tasks = plan(store, defense=defenses, attack=attacks, seeds=[0, 1]).tasks
    played = [kind for kind, _ in itertools.groupby(task.cell.kind for task in tasks)]
    assert played == ["inversion", "audit", "training"]
    shared = [(group, len(list(cells))) for group, cells in itertools.groupby(task.group for task in tasks)]
    assert [count for _, count in shared] == [6, 3, 6, 3, 2 + 12]  # two rows, and the one with another learning rate
    assert len({group for group, _ in shared}) == 5
    assert shared[-1][0] == ""


def test_the_next_cell_is_akin_to_the_last_or_apart_from_the_others(store: Store) -> None:
    tasks = plan(store).tasks
    one, other = tasks[0].group, tasks[2].group
    assert [task.group for task in tasks] == [one, one, other, other, *[""] * 8]
    assert runner.next_place(tasks, "", set()) == 0
    assert runner.next_place(tasks, other, {one}) == 2
    assert runner.next_place(tasks[1:], "", {one}) == 1
    assert runner.next_place(tasks[1:], "", {one, other}) == 3  # what shares nothing
    assert runner.next_place(tasks[1:2], "", {one}) == 0  # better than to wait


def test_groups_come_in_the_order_of_their_first_cell(store: Store) -> None:
    tasks = plan(store).tasks
    inverted = [task for task in tasks if task.group]
    for given in (tasks, inverted[2:] + tasks, [*inverted[::-1], *tasks[4:]]):
        groups = [group for group, _ in itertools.groupby(task.group for task in runner.in_order(given))]
        assert groups == [*dict.fromkeys(task.group for task in given if task.group), ""]


class Scripted:
    """A backend of two slots. `ends`: which tasks, by their place among the submitted, are over after so many."""

    slots = 2

    def __init__(self, ends: dict[int, list[int]]) -> None:
        self.ends, self.given = ends, list[tuple[Task, Future[Outcome]]]()

    def submit(self, task: Task) -> Future[Outcome]:
        self.given.append((task, Future()))
        for place in self.ends.get(len(self.given), []):
            self.given[place][1].set_result(lost_outcome(self.given[place][0], "told to"))
        return self.given[-1][1]

    def close(self) -> None:
        assert all(future.done() for _, future in self.given)


@pytest.fixture
def groups(store: Store) -> list[list[Task]]:
    """The inversions of three seeds: three groups of two cells."""
    tasks = [task for task in plan(store, seeds=[0, 1, 2]).tasks if task.group]
    return [[*cells] for _, cells in itertools.groupby(tasks, key=lambda task: task.group)]


def test_a_free_worker_goes_on_with_its_own_group(store: Store, groups: list[list[Task]]) -> None:
    """The first worker is at one; the second has left two, and three stands before what is left of two."""
    one, two, three = groups
    place = Scripted({2: [1], 3: [0, 2], 4: [3]})
    started: list[Task] = []
    list(runner.run([one[0], two[0], three[0], two[1]], store, 2, started.append, place=place))
    assert started == [task for task, _ in place.given] == [one[0], two[0], two[1], three[0]]


def test_a_group_that_a_worker_has_just_left_is_not_taken_by_another(store: Store, groups: list[list[Task]]) -> None:
    """Both workers are free: that which left one, whose cells are done, leaves two to the one that comes from there."""
    one, two, three = groups
    share = runner._Share([*two, three[0]], store, fresh=False)
    ended = [two[0].group, one[0].group]
    assert share.take(ended, []) == three[0]
    assert share.take(ended, [three[0]]) == two[0]
    assert ended == []
    share.close()


def test_with_all_records_nothing_is_missing(finished: Store) -> None:
    found = plan(finished)
    assert found.tasks == []
    assert {record.key for record in found.present} == {record.key for record in finished.records([])}
    assert found.total == len(found.present) == 12


def test_fresh_runs_everything_again(finished: Store) -> None:
    found = plan(finished, fresh=True)
    assert (len(found.tasks), found.present) == (12, [])


def test_only_the_record_that_is_gone_or_damaged_is_missing(finished: Store, tmp_path: Path) -> None:
    store = Store(tmp_path, "tiny")
    for record in finished.records([]):
        store.write(record)
    gone, damaged, *_ = sorted(store.folder.rglob("*.json"))
    gone.unlink()
    (task,) = plan(store).tasks
    assert store.path(task.cell, task.seed) == gone
    damaged.write_text("{")
    assert {store.path(task.cell, task.seed) for task in plan(store).tasks} == {gone, damaged}


def test_what_is_missing_is_what_runs(finished: Store, tmp_path: Path) -> None:
    store = Store(tmp_path, "tiny")
    for record in finished.records([]):
        store.write(record)
    gone = next(path for path in sorted(store.folder.rglob("*.json")) if "krum/clean" in str(path))
    gone.unlink()
    before = files(store.folder)
    (record,) = run(plan(store).tasks, store)
    assert store.path(record.cell, record.seed) == gone
    after = files(store.folder)
    assert {path: when for path, when in after.items() if path != gone} == before
    assert contents(store)[record.key] == contents(finished)[record.key]


@pytest.mark.parametrize(
    ("changes", "missing"),
    [
        ({"seeds": [0, 1, 2]}, 6),
        ({"title": "another title"}, 0),
        ({"defense": [{"name": "dp_fedavg"}, {"name": "krum", "federation": {"lr": 1.5}}]}, 4),
        ({"defense": [{"name": "dp_fedavg", "zeta": 1.0}, {"name": "krum", "federation": {"lr": 1.0}}]}, 6),
    ],
    ids=["a seed more", "a title", "a tuned value", "a parameter"],
)
def test_what_changed_in_the_suite_is_missing(finished: Store, changes: dict[str, Any], missing: int) -> None:
    assert len(plan(finished, **changes).tasks) == missing


def test_another_score_of_a_recovered_image_needs_its_own_records(finished: Store) -> None:
    """`recovered` is a number of the record, and the score decides it."""
    tasks = plan(finished, ranking={"recovered_psnr": 5.0}).tasks
    assert {task.cell.attack_name for task in tasks} == {"collusion"}
    assert len(tasks) == 4


def test_another_version_of_the_protocol_needs_its_own_records(
    finished: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(records, "PROTOCOL_VERSION", records.PROTOCOL_VERSION + 1)
    assert len(plan(finished).tasks) == 12


def test_privacy_cells_on_a_data_set_of_their_own_are_found_again(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fewer(root: Path, download: bool) -> Source:
        pixels = torch.arange(64 * 30).remainder(17).to(torch.uint8).view(30, 1, 8, 8)
        rows = torch.arange(30)
        return Source(pixels, rows % 3, (rows[:20], rows[20:25], rows[25:]), ("a", "b", "c"), white=16)

    stripes = registry.Entry(DatasetSpec("stripes", fewer))
    monkeypatch.setitem(registry._registered["dataset"], "stripes", stripes)
    asked: dict[str, Any] = {"seeds": [0], "privacy": {**suite().privacy.model_dump(), "dataset": "stripes"}}
    assert {record.status for record in run(plan(store, **asked).tasks, store)} == {"ok"}
    assert plan(store, **asked).tasks == []


# ---------------------------------------------------------------------------------------------------------------- run


def test_the_order_of_the_cells_changes_no_record(finished: Store, store: Store) -> None:
    run(plan(store).tasks[::-1], store)
    assert contents(store) == contents(finished)


@pytest.mark.integration
def test_two_workers_give_the_records_of_one(finished: Store, store: Store) -> None:
    announced: list[Task] = []
    tasks = plan(store).tasks
    made = list(runner.run(tasks, store, 2, announced.append))
    assert contents(store) == contents(finished)
    assert {record.key for record in made} == {record.key for record in finished.records([])}
    assert sorted(map(place, announced)) == sorted(map(place, tasks))
    assert announced[0].group != announced[1].group  # each begins with a control of its own


def test_a_record_is_written_before_the_next_cell_starts(store: Store) -> None:
    tasks, log = plan(store).tasks[:3], []
    for record in runner.run(tasks, store, 1, lambda task: log.append(("starts", place(task)))):
        found = store.find(record.cell, record.seed, record.protocol)
        told = "is there" if found == record else "is not there"
        log.append((told, (record.cell.label, record.cell.column, record.seed)))
    expected = [(step, place(task)) for task in tasks for step in ("starts", "is there")]
    assert log == expected


def test_a_run_that_is_stopped_goes_on_where_it_was(finished: Store, store: Store) -> None:
    running = runner.run(plan(store).tasks, store, 1)
    for _ in range(5):
        next(running)
    running.close()  # type: ignore[attr-defined]
    rest = plan(store)
    assert (len(rest.tasks), len(rest.present)) == (7, 5)
    run(rest.tasks, store)
    assert contents(store) == contents(finished)


def test_pictures_lie_beside_their_records(finished: Store) -> None:
    named = {finished.path(r.cell, r.seed).parent / name for r in finished.records([]) for name in r.files.values()}
    assert len(named) == 4
    assert named == set(finished.folder.rglob("*.png"))


def test_what_a_killed_run_left_of_a_cell_is_gone_once_the_cell_is_played(store: Store) -> None:
    """Half a record beside no lock: the folder's sweep looks at locks."""
    task = plan(store).tasks[-1]
    path = store.path(task.cell, task.seed)
    path.parent.mkdir(parents=True)
    left, other = path.with_name(f".{path.stem}.json.ab12"), path.with_name(".other.json.ab12")
    for file in (left, other):
        file.write_bytes(b"{")
    list(runner.run([task], store, 2, place=Scripted({1: [0]})))
    assert {*path.parent.iterdir()} == {path, other}


def test_what_a_killed_run_left_of_other_cells_is_gone_as_well_but_not_what_another_run_is_at(store: Store) -> None:
    killed, busy, task = plan(store).tasks[-3:]
    left = []
    for other in (killed, busy):
        lock = store.lock_path(other.cell, other.seed)
        lock.parent.mkdir(parents=True, exist_ok=True)
        left += [lock, lock.with_name(f"{lock.stem}.json.ab12")]
        for file in left[-2:]:
            file.touch()
    held = locks.take(left[2])
    assert held is not None
    list(runner.run([task], store, 2, place=Scripted({1: [0]})))
    assert [file.exists() for file in left] == [False, False, True, True]
    held.release()


def test_nothing_to_do_is_nothing_done(store: Store) -> None:
    assert run([], store, workers=2) == []
    assert not store.folder.exists()


def test_results_that_cannot_be_written_are_told_in_one_line(tmp_path: Path) -> None:
    taken = tmp_path / "results"
    taken.write_text("a file, not a folder")
    store = Store(taken, "tiny")
    with pytest.raises(BadInputError, match=rf"^cannot write under {store.folder}: \w[^\n]*$"):
        run(plan(store).tasks[:2], store)
    assert taken.read_text() == "a file, not a folder"


# ------------------------------------------------------------------------------------------------------- failing cells


@pytest.mark.usefixtures("_broken")
def test_a_failing_cell_is_recorded_and_the_others_go_on(store: Store) -> None:
    defenses = [{"name": "broken"}, {"name": "fedavg"}]
    made = run(plan(store, defense=defenses).tasks, store)
    assert [record.status for record in made if record.cell.label == "fedavg"] == ["ok"] * 6
    broken = [record for record in made if record.cell.label == "broken"]
    assert [(record.status, record.error) for record in broken] == [("failed", "RuntimeError: cannot aggregate")] * 6
    again = plan(store, defense=defenses)
    assert (again.tasks, len(again.present)) == ([], 12)  # a failed record is there: only `fresh` runs it again


# ----------------------------------------------------------------------------------------------------------- processes

ENDLESS = """
name = "endless"
title = "cells that never end"
seeds = [0, 1]
[federation]
dataset = "digits"
clients = 2
rounds = 1000000000
eval_every = 1000000000
local_steps = 1
lr = 0.1
[[defense]]
name = "fedavg"
[[attack]]
name = "ipm"
byzantine = 0
"""
"""Two cells: one column without anybody who forges, two seeds."""


@pytest.mark.integration
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")
def test_workers_end_with_the_run_that_started_them(tmp_path: Path) -> None:
    """However it ended: else they keep their cores and their memory, and nobody takes what they compute."""
    (tmp_path / "endless.toml").write_text(ENDLESS)
    command = [sys.executable, "-m", "bench", "run", "--suite", "endless.toml", "--workers", "2", "--quiet"]
    main = subprocess.Popen(command, cwd=tmp_path)
    workers: list[int] = []
    try:
        assert comes_true(lambda: sum(len(children(child)) for child in children(main.pid)) == 2)
        workers = [worker for child in children(main.pid) for worker in children(child)]
        main.kill()
        main.wait()
        assert comes_true(lambda: not any(map(is_running, workers)), seconds=15)
    finally:
        main.kill()
        for worker in filter(is_running, workers):
            os.kill(worker, signal.SIGKILL)


# ------------------------------------------------------------------------------------------------------- small things


def test_there_is_a_worker_for_a_core_at_least() -> None:
    assert runner.default_workers() >= 1
