"""Cells on a real Ray cluster of two nodes on loopback: the records of a run here, whoever dies on the way.

The second node has a (made-up) GPU and a data root of its own, so that what a cell takes says where it runs.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import cluster, data, jobs, registry, runner
from bench.cluster import connection, driver, node
from bench.cluster.driver import Cluster, Needs
from bench.errors import BadInputError
from bench.records import Record, Store, protocol_hash, setting_hash
from bench.suite import Suite, load
from bench.workers import NO_LIMITS, Limits

ROOT = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "faults"
ENTRIES = "[fedsiege.defenses]\nmortal = fedsiege_faults:Mortal\nhoarder = fedsiege_faults:Hoarder\n"
SUITE: dict[str, Any] = {
    "name": "far",
    "title": "cells that are played elsewhere",
    "seeds": [0],
    "federation": {
        "dataset": "digits",
        "clients": 6,
        "samples_per_client": 10,
        "rounds": 5,
        "local_steps": 1,
        "batch_size": 5,
        "lr": 0.5,
        "assumed_byzantine": 0.17,
    },
    "attack": [{"name": "sign_flip", "byzantine": 0.17}],
}
ENDLESS = {"name": "hoarder", "seconds": 60.0}
BUSY = {  # on a busy machine a node is slow, and not lost
    "RAY_health_check_timeout_ms": "30000",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "120",
}

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
mebibytes = [1, 2, 3, 4]
seconds = 0.6
[[attack]]
name = "sign_flip"
byzantine = 0.16
"""

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


# -------------------------------------------------------------------------------------------------------- the cluster


@dataclass(frozen=True)
class Nodes:
    """The running cluster, the folder where mortal cells note their faults, the data root of the second node."""

    ray: Any
    faults: Path
    root: Path

    @property
    def address(self) -> str:
        return str(self.ray.address)

    def add(self, **given: Any) -> Any:
        size = {"memory": 4 * 2**30, "object_store_memory": 100 * 2**20}
        # not 127.0.0.1, in whose place Ray puts an outer address of the machine
        return self.ray.add_node(num_cpus=1, node_ip_address="127.0.0.2", **size, **given)


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    base = tmp_path_factory.mktemp("nodes")
    info = base / "site" / "fedsiege_faults-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fedsiege-faults\nVersion: 1\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (base / "had").mkdir()
    short = Path(tempfile.mkdtemp(prefix="fs-", dir="/tmp"))  # names of sockets are short
    with pytest.MonkeyPatch.context() as patch:
        kept: dict[Any, Any] = {kind: dict(classes) for kind, classes in registry._registered.items()}
        patch.setattr(registry, "_registered", kept)
        for folder in (info.parent, PLUGIN):
            patch.syspath_prepend(folder)
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (info.parent, PLUGIN, ROOT))))
        patch.delenv("FEDSIEGE_DATA", raising=False)
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.setenv("RAY_TMPDIR", str(short))
        for name, value in {**connection.CALM, **BUSY}.items():
            patch.setenv(name, value)
        from ray.cluster_utils import Cluster as TestCluster

        found = Nodes(TestCluster(), base / "had", images(base / "root", shade=1))
        try:
            with pytest.MonkeyPatch.context() as there:
                there.setenv("FEDSIEGE_TEST_FAULTS", str(found.faults))
                there.setenv("FEDSIEGE_TEST_KINDS", "worker")
                found.add(include_dashboard=False)
                there.setenv("FEDSIEGE_DATA", str(found.root))
                found.add(num_gpus=1)
            yield found
        finally:
            found.ray.shutdown()
            shutil.rmtree(short, ignore_errors=True)


def images(root: Path, shade: int) -> Path:
    """A data root that holds twenty small images."""
    folder = root / data.CIFAR100_SAMPLE
    folder.mkdir(parents=True)
    pixels = np.arange(20 * 32 * 32 * 3).reshape(20, 32, 32, 3) * shade % 251
    labels = {"fine_labels": np.arange(20) % 4, "fine_label_names": np.array(["a", "b", "c", "d"])}
    np.savez(folder / data.CIFAR100_SAMPLE_FILE, images=pixels.astype(np.uint8), **labels)
    return root


def suite(*defenses: dict[str, Any], **changes: Any) -> Suite:
    return Suite(**{**SUITE, "defense": defenses, **changes})


def plan(asked: Suite, store: Store, root: Path | None = None) -> runner.Plan:
    return runner.plan(asked, asked.cells(), store, None if root is None else str(root))


def far(
    nodes: Nodes,
    asked: Suite,
    store: Store,
    root: Path | None = None,
    limits: Limits = NO_LIMITS,
    needs: tuple[float, float] = (1.0, 0.0),
) -> list[Record]:
    """What the cluster makes of a suite."""
    place = cluster.connect(nodes.address, *needs, limits)
    return list(runner.run(plan(asked, store, root).tasks, store, 1, place=place))


def here(asked: Suite, folder: Path, root: Path | None = None) -> dict[str, Any]:
    """What this process makes of it."""
    store = Store(folder, asked.name)
    assert {record.status for record in runner.run(plan(asked, store, root).tasks, store, 1)} == {"ok"}
    return contents(store)


def contents(store: Store) -> dict[str, Any]:
    """What a store holds by file name: records without their times, pictures; nothing may be damaged."""
    damaged: list[str] = []
    found: dict[str, Any] = {record.key: pure(record) for record in store.records(damaged)}
    assert damaged == []
    return found | {path.name: path.read_bytes() for path in store.folder.glob("*/*/*.png")}


def pure(record: Record) -> dict[str, Any]:
    content = record.model_dump(exclude={"finished_at"})
    content["cost"] = {name: value for name, value in content["cost"].items() if not name.endswith("seconds")}
    return content


def comes_true(condition: Callable[[], bool], seconds: float = 120) -> bool:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results", "far")


@pytest.fixture
def tiny(tmp_path: Path, tiny_suite: Callable[..., str]) -> Path:
    """The file of a suite of two defenses, two attacks and two seeds."""
    path = tmp_path / "tiny.toml"
    path.write_text(tiny_suite(ROWS, seeds="[0, 1]"))
    return path


# ------------------------------------------------------------------------------------------------------------- records


def test_the_command_makes_the_records_of_a_run_here_and_nothing_else_is_said(
    nodes: Nodes, tiny: Path, shell: Callable[..., Any]
) -> None:
    """Twelve cells, trainings and inversions, with their pictures; progress as on one machine, and no word of Ray's."""
    done = shell("run", "--suite", "tiny.toml", "--ray", nodes.address)
    assert done.code == 0
    lines = done.err.splitlines()
    assert len(lines) == 12
    assert all(" of 12 cells, now " in line for line in lines), lines
    assert "12 cells run, 0 were there" in done.out
    assert re.search(r"\bray\b", done.out, re.IGNORECASE) is None
    asked, made = load(str(tiny)), Store(tiny.parent / "results", "tiny")
    found = contents(made)
    assert found == here(asked, tiny.parent / "here")
    assert len([name for name in found if name.endswith(".png")]) == 4
    again = shell("run", "--suite", "tiny.toml", "--ray", nodes.address, "--json")
    assert (again.code, again.err, json.loads(again.out)["ran"]) == (0, "", 0)


def test_resources_change_no_hash() -> None:
    plain = suite({"name": "fedavg"})
    other = suite({"name": "fedavg"}, resources={"cpus": 0.5, "gpus": 2})
    assert other.resources != plain.resources
    assert [cell.hash for cell in other.cells()] == [cell.hash for cell in plain.cells()]
    hashes = [[protocol_hash(cell, "d") for cell in one.cells()] for one in (plain, other)]
    assert hashes[0] == hashes[1]
    assert setting_hash(other, "d") == setting_hash(plain, "d")


def test_what_a_cell_takes_is_counted_in_whole_cells() -> None:
    needs = Needs(0.1, 0.5, 100)
    node_ = {"CPU": 0.3, "GPU": 2.0, "memory": 1000.0 * 2**20}
    assert needs.fit(node_) == 3  # although 0.3 / 0.1 is less in floating point
    assert needs.fit({**node_, "GPU": 1.9}) == 3
    assert needs.fit({**node_, "GPU": 1.4}) == 2
    assert needs.fit({**node_, "memory": 199.0 * 2**20}) == 1
    assert needs.fit({"CPU": 8.0}) == 0
    assert str(needs) == "0.1 CPU, 0.5 GPU, 100 MiB"


# --------------------------------------------------------------------------------------------------------- real kills


def test_a_cell_whose_process_is_killed_runs_again(nodes: Nodes, store: Store, tmp_path: Path) -> None:
    """Each of 6 cells kills its process in the middle, once."""
    asked = suite({"name": "mortal", "tag": [1, 2, 3]})
    expected = here(asked, tmp_path / "here")
    assert len(far(nodes, asked, store)) == 6
    assert len(list(nodes.faults.glob("*.worker"))) == 6
    assert contents(store) == expected


def test_a_driver_that_is_killed_goes_on_when_it_is_started_again(
    nodes: Nodes, tiny_suite: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "slow.toml").write_text(tiny_suite(SLOW_ROWS))
    expected = here(load(str(tmp_path / "slow.toml")), tmp_path / "here")
    store = Store(tmp_path / "results", "tiny")
    command = [sys.executable, "-m", "bench", "run", "--suite", "slow.toml", "--ray", nodes.address, "--json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as first:
        try:
            assert comes_true(lambda: len(list(store.folder.rglob("*-s0.json"))) >= 2)
        finally:
            first.kill()
        told = first.communicate()
    assert (first.returncode, told) == (-signal.SIGKILL, (b"", b""))
    kept = {path: path.stat().st_mtime_ns for path in store.folder.rglob("*-s0.json")}
    assert 2 <= len(kept) < 8
    second = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300)
    assert (second.returncode, second.stderr) == (0, "")
    assert json.loads(second.stdout)["already_there"] == len(kept)
    assert contents(store) == expected
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


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
    clean = {"attack": [{"name": "ipm", "byzantine": 0}]}
    asked = suite(ENDLESS, {"name": "fedavg"}, {"name": "hoarder", "label": "big", "mebibytes": 1200}, **clean)
    made = {record.cell.label: record for record in far(nodes, asked, store, limits=Limits(8.0, 1000))}
    assert (made["fedavg"].status, made["fedavg"].error) == ("ok", None)
    assert made["hoarder"].error == "it ran longer than --cell-timeout 8 seconds"
    assert made["big"].status == "failed"
    assert str(made["big"].error).startswith("its worker process held 1")
    assert "MiB, more than --cell-memory 1000" in str(made["big"].error)


# ---------------------------------------------------------------------------------------------------------------- data


def test_data_is_sent_to_nodes_without_and_read_by_nodes_with_a_root_of_their_own(
    nodes: Nodes, store: Store, tmp_path: Path
) -> None:
    """Four cells on both nodes; the data set knows no download, so that a cell without it would fail."""
    settings = {**SUITE["federation"], "dataset": "cifar100-sample", "samples_per_client": 3, "rounds": 2}
    asked = suite({"name": "fedavg"}, {"name": "median"}, federation=settings)
    root = images(tmp_path / "root", shade=1)
    expected = here(asked, tmp_path / "here", root)
    assert len(far(nodes, asked, store, root)) == 4
    assert contents(store) == expected
    again = Store(tmp_path / "again", "far")
    assert len(far(nodes, asked, again, root, needs=(0.25, 0.5))) == 4  # on the node with a GPU alone
    assert contents(again) == expected


def test_a_node_whose_own_data_are_others_ends_the_run(nodes: Nodes, store: Store, tmp_path: Path) -> None:
    settings = {**SUITE["federation"], "dataset": "cifar100-sample", "samples_per_client": 3, "rounds": 2}
    root = images(tmp_path / "root", shade=2)
    with pytest.raises(BadInputError, match=r"^node \S+: its FEDSIEGE_DATA has another cifar100-sample \(\w+\) than"):
        far(nodes, suite({"name": "fedavg"}, federation=settings), store, root, needs=(1.0, 1.0))
    assert list(store.records([])) == []


def test_a_packed_data_set_is_the_same_on_memory_that_cannot_be_written(digits: data.Dataset) -> None:
    packed = node.pack(digits)
    for name in ("train", "validation", "test"):
        packed[name] = tuple(array.copy() for array in packed[name])
        for array in packed[name]:
            array.setflags(write=False)
    found = node.unpack(packed)
    assert (found.name, found.digest, found.class_names) == (digits.name, digits.digest, digits.class_names)
    assert torch.equal(found.mean, digits.mean)
    assert torch.equal(found.std, digits.std)
    for one, other in ((found.train, digits.train), (found.validation, digits.validation), (found.test, digits.test)):
        assert torch.equal(one.x, other.x)
        assert torch.equal(one.y, other.y)


def test_an_adopted_data_set_stands_in_for_a_download_alone(
    digits: data.Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(data, "_adopted", {})
    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    data.adopt(data.Dataset(**{**vars(digits), "name": "cifar100-sample"}))
    assert data.load("cifar100-sample").digest == digits.digest
    own = data.load("cifar100-sample", images(tmp_path / "root", shade=3)).digest
    assert own != digits.digest
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path / "root"))
    assert data.load("cifar100-sample").digest == own


# ---------------------------------------------------------------------------------------------------------------- code


def test_a_node_with_another_version_of_the_code_ends_the_run(
    nodes: Nodes, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(driver, "code_version", lambda: "0.1.0, code 0123456789ab")
    told = r"^node \S+ runs another fedsiege \(\S+, code \w{12}\) than this machine \(0\.1\.0, code 0123456789ab\);"
    with pytest.raises(BadInputError, match=told):
        far(nodes, suite({"name": "fedavg"}), store)
    assert list(store.records([])) == []


def test_the_version_of_the_code_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return node.code_version.__wrapped__()

    monkeypatch.setattr(node, "__file__", str(tmp_path / "bench" / "cluster" / "node.py"))
    first = version("defenses/krum.py", "one")
    assert version("README.md", "no code") == first
    assert version("defenses/__pycache__/krum.pyc", "no source") == first
    assert len({first, version("defenses/krum.py", "two"), version("attacks/krum.py", "two")}) == 3
    assert version("attacks/krum.py", "") != version("attacks/dlg.py", "")


# ------------------------------------------------------------------------------------------------------ no such cluster


def test_without_ray_it_is_told_how_to_get_it(
    bench: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = bench("run", "--suite", "tiny.toml", "--ray", "auto")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("fedsiege: --ray needs Ray: pip install 'fedsiege[cluster]'")
    assert not (tiny.parent / "results").exists()


def test_a_cell_that_no_node_could_hold_is_told_at_once(nodes: Nodes, tiny: Path, shell: Callable[..., Any]) -> None:
    done = shell("run", "--suite", "tiny.toml", "--ray", nodes.address, "--set", "resources.cpus=64")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("fedsiege: a cell takes 64 CPU of one node, but the cluster's nodes have 1 CPU: see [resour")


def test_no_more_cells_at_once_than_asked_for(nodes: Nodes) -> None:
    with contextlib.closing(cluster.connect(nodes.address, 0.1, 0.0, NO_LIMITS, most=7)) as place:
        assert isinstance(place, Cluster)
        assert place.slots == 7


def test_all_that_a_run_says_of_a_cluster_arrives(monkeypatch: pytest.MonkeyPatch, tiny: Path) -> None:
    seen: list[Any] = []

    def spy(*given: Any) -> None:
        seen.extend(given)
        raise KeyboardInterrupt

    monkeypatch.setattr(cluster, "connect", spy)
    with pytest.raises(KeyboardInterrupt):
        jobs.run_suite(
            str(tiny),
            changes=["resources.gpus=0.5"],
            results=tiny.parent / "results",
            workers=3,
            limits=Limits(5.0, 6),
            ray="auto",
        )
    assert seen == ["auto", 1, 0.5, Limits(5.0, 6), 3]


@pytest.mark.slow
def test_something_else_that_listens_at_the_address_is_told(tiny: Path, shell: Callable[..., Any]) -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        began = time.monotonic()
        done = shell("run", "--suite", "tiny.toml", "--ray", f"127.0.0.2:{server.getsockname()[1]}")
        assert time.monotonic() - began < 120  # a try takes 20 seconds
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert "cannot enter a Ray cluster" in done.err
