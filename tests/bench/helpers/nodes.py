"""A real Ray cluster of two nodes on loopback, and suites that are played there and here.

The second node has a (made-up) GPU and a data root of its own, so that what a cell takes says where it runs.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench import registry
from bench.data import datasets as data
from bench.records import Record, Store
from bench.runs import cluster, runner
from bench.runs.cluster import connection
from bench.runs.workers import NO_LIMITS, Limits
from bench.suite import Suite
from tests.bench.helpers.processes import install
from tests.bench.helpers.registry import copied
from tests.bench.helpers.stored import contents
from tests.bench.helpers.suites import FIVE_ROUNDS

SIGN_FLIP = {"name": "sign_flip", "byzantine": 0.17}
SUITE: dict[str, Any] = {
    "name": "far",
    "title": "cells that are played elsewhere",
    "seeds": [0],
    "federation": FIVE_ROUNDS,
    "attack": [SIGN_FLIP],
}
BUSY = {  # on a busy machine a node is slow, and not lost
    "RAY_health_check_timeout_ms": "30000",
    "RAY_agent_register_timeout_ms": "120000",
    "RAY_raylet_start_wait_time_s": "120",
    "RAY_worker_register_timeout_seconds": "120",
}


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


@contextmanager
def two_nodes(base: Path) -> Iterator[Nodes]:
    """The cluster, with the plugin of faults installed there and here, until the block ends."""
    for folder in ("had", "root"):
        (base / folder).mkdir()
    short = Path(tempfile.mkdtemp(prefix="fs-", dir="/tmp"))  # names of sockets are short
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(registry, "_registered", copied())
            path = install(base, "Mortal", "Hoarder")
            for folder in path.split(os.pathsep)[:2]:
                patch.syspath_prepend(folder)
            patch.setenv("PYTHONPATH", path)
            patch.delenv("FEDSIEGE_DATA", raising=False)
            patch.delenv("RAY_ADDRESS", raising=False)
            patch.setenv("RAY_TMPDIR", str(short))
            for name, value in {**connection.CALM, **BUSY}.items():
                patch.setenv(name, value)
            yield from _started(Nodes(_cluster(), base / "had", base / "root"))
    finally:
        shutil.rmtree(short, ignore_errors=True)


def _cluster() -> Any:
    from ray.cluster_utils import Cluster  # once its environment is set

    return Cluster()


def _started(found: Nodes) -> Iterator[Nodes]:
    try:
        with pytest.MonkeyPatch.context() as there:
            there.setenv("FEDSIEGE_TEST_FAULTS", str(found.faults))
            there.setenv("FEDSIEGE_TEST_KINDS", "worker")
            found.add(include_dashboard=False, include_log_monitor=False, no_monitor=True)
            there.setenv("FEDSIEGE_DATA", str(found.root))
            found.add(num_gpus=1)
        yield found
    finally:
        found.ray.shutdown()


def images(root: Path, shade: int) -> Path:
    """A data root that holds twenty small images, made up: `data.CANONICAL` refuses them."""
    folder = root / data.CIFAR100_SAMPLE
    folder.mkdir(parents=True)
    pixels = np.arange(20 * 32 * 32 * 3).reshape(20, 32, 32, 3) * shade % 251
    labels = {"fine_labels": np.arange(20) % 4, "fine_label_names": np.array(["a", "b", "c", "d"])}
    np.savez(folder / data.CIFAR100_SAMPLE_FILE, images=pixels.astype(np.uint8), **labels)
    return root


def suite(*defenses: dict[str, Any], **changes: Any) -> Suite:
    """Of a clean and an attacked cell for each defense."""
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
