"""Cells on a real Ray cluster of two nodes on loopback: the records of a run here, whoever dies on the way."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.data import datasets as data
from bench.records import Store
from bench.runs import cluster, runner
from bench.runs.cluster import driver
from bench.runs.cluster.driver import Cluster
from bench.runs.workers import NO_LIMITS, Limits
from bench.suite import load
from tests.bench.helpers.nodes import SIGN_FLIP, Nodes, far, here, images, plan, suite, two_nodes
from tests.bench.helpers.own import OWN
from tests.bench.helpers.own import SUITE as OWN_SUITE
from tests.bench.helpers.processes import STOPPED, comes_true, group, start_bench
from tests.bench.helpers.stored import contents
from tests.bench.helpers.suites import FIVE_ROUNDS

GPU = (0.25, 0.75)
"""What a cell takes to run on the second node, one at a time."""

ENDLESS = {"name": "hoarder", "seconds": 60.0}
CLEAN = {"name": "ipm", "byzantine": 0}
"""An attack by nobody: a defense has one cell then, else a clean and an attacked one."""

ROWS = """
[[defense]]
name = "dp_fedavg"
[[defense]]
name = "krum"
[[attack]]
name = "sign_flip"
byzantine = 0.16
[[attack]]
name = "collusion"
rho = 1.0
starts = 1
evaluations = 20
"""
SLOW_ROWS = """
[[defense]]
name = "hoarder"
mebibytes = [1, 2, 3]
seconds = 0.6
[[attack]]
name = "sign_flip"
byzantine = 0.16
"""

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    with two_nodes(tmp_path_factory.mktemp("nodes")) as found:
        yield found


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", "far")


@pytest.fixture
def tiny(tmp_path: Path, tiny_suite: Callable[..., str]) -> Path:
    """The file of a suite of two defenses and two attacks: six cells."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_suite(ROWS))
    return path


# ------------------------------------------------------------------------------------------------------------- records


def test_the_command_makes_the_records_of_a_run_here_and_nothing_else_is_said(
    nodes: Nodes, tiny: Path, bench: Callable[..., Any]
) -> None:
    """Six cells, trainings and inversions, with their pictures; progress as on one machine, and no word of Ray's.

    The folder has a package `defenses` of its own, which is none of ours.
    """
    (tiny.parent / "defenses").mkdir()
    (tiny.parent / "defenses" / "__init__.py").write_text("raise RuntimeError\n")
    running = start_bench(tiny.parent, "run", "--suite", "tiny.toml", "--ray", nodes.address)
    expected = here(load(str(tiny)), tiny.parent / "here")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0
    lines = err.splitlines()
    assert len(lines) == 6
    assert all(" of 6 cells, now " in line for line in lines), lines
    assert "6 cells run, 0 were there" in out
    assert re.search(r"\bray\b", out, re.IGNORECASE) is None
    found = contents(Store(tiny.parent / "runs", "tiny"))
    assert found == expected
    assert len([name for name in found if name.endswith(".png")]) == 2
    again = bench("run", "--suite", "tiny.toml", "--ray", nodes.address, "--json")
    assert (again.code, again.err, json.loads(again.out)["ran"]) == (0, "", 0)


@pytest.mark.slow
def test_files_of_one_s_own_are_known_on_the_nodes(nodes: Nodes, tmp_path: Path) -> None:
    """A rule, an attack, data and a model: nothing of them lies on a node, and one has a data root of its own."""
    (tmp_path / "mine.py").write_text(OWN)
    (tmp_path / "own.toml").write_text(OWN_SUITE)
    asked = ("run", "--suite", "own.toml", "--load", "mine.py", "--quiet")
    for more in (("--ray", nodes.address), ("--workers", "1", "--results", "here")):
        running = start_bench(tmp_path, *asked, *more)
        out, err = running.communicate(timeout=300)
        assert (running.returncode, out, err) == (0, "", "")
    found = contents(Store(tmp_path / "runs", "own"))
    assert len(found) == 12
    assert found == contents(Store(tmp_path / "here", "own"))


# --------------------------------------------------------------------------------------------------------- real kills


@pytest.mark.parametrize(
    ("tags", "attack"),
    [
        pytest.param([1], CLEAN, marks=pytest.mark.slow),
        pytest.param([2, 3, 4], SIGN_FLIP, marks=pytest.mark.slow),
    ],
    ids=["one", "six"],
)
def test_a_cell_whose_process_is_killed_runs_again(
    nodes: Nodes, store: Store, tmp_path: Path, tags: list[int], attack: dict[str, Any]
) -> None:
    """Each cell kills its process in the middle, once."""
    asked, before = suite({"name": "mortal", "tag": tags}, attack=[attack]), set(nodes.faults.glob("*.worker"))
    count = len(asked.cells())
    expected = here(asked, tmp_path / "here")
    assert len(far(nodes, asked, store)) == count
    assert len({*nodes.faults.glob("*.worker")} - before) == count
    assert contents(store) == expected


@pytest.mark.slow
def test_a_driver_that_is_killed_or_stopped_goes_on_when_it_is_started_again(
    nodes: Nodes, tiny_suite: Callable[..., str], tmp_path: Path
) -> None:
    """First `kill -9`, then Ctrl-C, then to the end; the last finds the cluster by itself."""
    (tmp_path / "slow.toml").write_text(tiny_suite(SLOW_ROWS))
    store = Store(tmp_path / "runs", "tiny")
    run = ("run", "--suite", "slow.toml", "--json", "--ray")
    killed = struck(start_bench(tmp_path, *run, nodes.address), store, signal.SIGKILL)
    assert killed == (-signal.SIGKILL, "", "")
    kept = written(store)
    stopped = struck(start_bench(tmp_path, *run, nodes.address, "--workers", "1"), store, signal.SIGINT)
    assert stopped == (130, "", STOPPED + "\n")
    assert written(store).items() >= kept.items()
    kept = written(store)
    assert len(kept) < 6
    assert hidden(store) == []  # the second has cleared away what the first had left
    last = start_bench(tmp_path, *run, "auto", "--workers", "1", RAY_ADDRESS=nodes.address)
    expected = here(load(str(tmp_path / "slow.toml")), tmp_path / "here")
    out, err = last.communicate(timeout=300)
    assert (last.returncode, err) == (0, "")
    assert json.loads(out)["already_there"] == len(kept)
    assert contents(store) == expected
    assert written(store).items() >= kept.items()
    assert hidden(store) == []


def struck(running: "Popen[str]", store: Store, how: signal.Signals) -> tuple[int, str, str]:
    """How a run ends, and what it says, whose group gets the signal after two more records."""
    before = len(written(store))
    try:
        assert comes_true(lambda: len(written(store)) >= before + 2)
    finally:
        os.killpg(running.pid, how)  # as a terminal sends it
    out, err = running.communicate(timeout=60)
    assert comes_true(lambda: not group(running.pid), seconds=10)
    return running.returncode, out, err


def written(store: Store) -> dict[Path, int]:
    """Its records, and when each was written."""
    return {path: path.stat().st_mtime_ns for path in store.folder.rglob("*-s0.json")}


def hidden(store: Store) -> list[str]:
    return [path.name for path in store.folder.rglob(".*")]


@pytest.mark.slow
def test_a_cluster_of_its_own_makes_the_same_records_and_ends_with_the_run(
    tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/tmp")  # names of sockets are short
    running = start_bench(tiny.parent, "run", "--suite", "tiny.toml", "--ray", "local", "--json", "--workers", "2")
    out, err = running.communicate(timeout=300)
    assert (running.returncode, err, json.loads(out)["ran"]) == (0, "", 6)
    assert contents(Store(tiny.parent / "runs", "tiny")) == here(load(str(tiny)), tiny.parent / "here")
    assert comes_true(lambda: not group(running.pid), seconds=10)


@pytest.mark.slow
def test_cells_of_a_node_that_is_lost_run_elsewhere_and_new_nodes_are_used(
    nodes: Nodes, store: Store, tmp_path: Path
) -> None:
    asked = suite({"name": "hoarder", "mebibytes": [1, 2, 3, 4], "seconds": 0.4})
    expected = here(asked, tmp_path / "here")
    lost = nodes.add()
    place = cluster.connect(nodes.address, 1.0, 0.0, NO_LIMITS)
    started: list[Any] = []
    assert comes_true(lambda: place.slots == 3)
    running = runner.run(plan(asked, store).tasks, store, 1, started.append, place=place)
    made = [next(running)]
    assert len(started) >= 3  # each node has had a cell
    nodes.ray.remove_node(lost, allow_graceful=False)
    assert comes_true(lambda: place.slots == 2)
    new = nodes.add()
    try:
        assert comes_true(lambda: place.slots == 3)
        made += running
    finally:
        nodes.ray.remove_node(new)
    assert len(made) == 8
    assert contents(store) == expected


# -------------------------------------------------------------------------------------------------------------- limits


@pytest.mark.slow
def test_limits_hold_and_the_other_cells_go_on(nodes: Nodes, store: Store) -> None:
    big = {"name": "hoarder", "label": "big", "mebibytes": 1200}
    asked = suite(ENDLESS, {"name": "fedavg"}, big, attack=[CLEAN])
    made = {record.cell.label: record for record in far(nodes, asked, store, limits=Limits(8.0, 1000))}
    assert (made["fedavg"].status, made["fedavg"].error) == ("ok", None)
    assert made["hoarder"].error == "it ran longer than --cell-timeout 8 seconds"
    assert made["big"].status == "failed"
    assert str(made["big"].error).startswith("its worker process held 1")
    assert "MiB, more than --cell-memory 1000" in str(made["big"].error)


# ---------------------------------------------------------------------------------------------------------------- data


@pytest.fixture
def own_data(nodes: Nodes, data_root: Path) -> Path:
    """A root of this machine, whose sample of CIFAR-100 the second node has too."""
    shutil.copytree(data_root / data.CIFAR100_SAMPLE, nodes.root / data.CIFAR100_SAMPLE, dirs_exist_ok=True)
    return data_root


@pytest.mark.data
def test_data_is_sent_to_nodes_without_and_read_by_nodes_with_a_root_of_their_own(
    nodes: Nodes, store: Store, tmp_path: Path, own_data: Path
) -> None:
    """Four cells on both nodes; the data set knows no download, so that a cell without it would fail."""
    settings = {**FIVE_ROUNDS, "dataset": "cifar100-sample", "samples_per_client": 3, "rounds": 2}
    asked = suite({"name": "fedavg"}, {"name": "median"}, federation=settings)
    expected = here(asked, tmp_path / "here", own_data)
    assert len(far(nodes, asked, store, own_data)) == 4
    assert contents(store) == expected
    again = Store(tmp_path / "again", "far")
    assert len(far(nodes, asked, again, own_data, needs=GPU)) == 4  # on one node alone
    assert contents(again) == expected


@pytest.mark.data
@pytest.mark.usefixtures("own_data")
def test_a_node_whose_own_data_are_others_ends_the_run(
    nodes: Nodes, store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it is this machine that takes made-up images for the published ones."""
    monkeypatch.setattr(data, "CANONICAL", {})
    settings = {**FIVE_ROUNDS, "dataset": "cifar100-sample", "samples_per_client": 3, "rounds": 2}
    root = images(tmp_path / "root", shade=2)
    with pytest.raises(BadInputError, match=r"^node \S+: its FEDSIEGE_DATA has another cifar100-sample \(\w+\) than"):
        far(nodes, suite({"name": "fedavg"}, federation=settings), store, root, needs=GPU)
    assert list(store.records([])) == []


# ---------------------------------------------------------------------------------------------------------------- code


@pytest.mark.slow
def test_a_node_with_another_version_of_the_code_ends_the_run(
    nodes: Nodes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "code_version", lambda: "0.1.0, code 0123456789ab")
    told = r"^node \S+ runs another fedsiege \(\S+, code \w{12}\) than this machine \(0\.1\.0, code 0123456789ab\);"
    with pytest.raises(BadInputError, match=told):
        far(nodes, suite({"name": "fedavg"}), store, needs=GPU)
    assert list(store.records([])) == []


# ------------------------------------------------------------------------------------------------------ no such cluster


def test_a_cell_that_no_node_could_hold_is_told_at_once(nodes: Nodes, tiny: Path, bench: Callable[..., Any]) -> None:
    done = bench("run", "--suite", "tiny.toml", "--ray", nodes.address, "--set", "resources.cpus=64")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("fedsiege: a cell takes 64 CPU of one node, but the cluster's nodes have 1 CPU: see [resour")


def test_no_more_cells_at_once_than_asked_for(nodes: Nodes) -> None:
    with contextlib.closing(cluster.connect(nodes.address, 0.1, 0.0, NO_LIMITS, most=7)) as place:
        assert isinstance(place, Cluster)
        assert place.slots == 7


@pytest.mark.slow
def test_something_else_that_listens_at_the_address_is_told(tiny: Path, shell: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        began = time.monotonic()
        done = shell("run", "--suite", "tiny.toml", "--ray", f"127.0.0.2:{server.getsockname()[1]}")
        assert time.monotonic() - began < 120  # a try takes 20 seconds
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "cannot enter a Ray cluster" in done.err
