"""The parts of cells on a cluster that need none: what a cell takes, data sets on their way, versions, no Ray."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from bench.data import datasets as data
from bench.records import protocol_hash, setting_hash
from bench.runs import cluster, jobs
from bench.runs.cluster import node
from bench.runs.cluster.driver import Needs
from bench.runs.workers import Limits
from tests.bench.helpers.nodes import images, suite


@pytest.fixture
def tiny(tmp_path: Path, suite_text: str) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(suite_text)
    return path


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
    monkeypatch.setattr(data, "CANONICAL", {})  # the images below are made up
    monkeypatch.delenv("FEDSIEGE_DATA", raising=False)
    data.adopt(data.Dataset(**{**vars(digits), "name": "cifar100-sample"}))
    assert data.load("cifar100-sample").digest == digits.digest
    own = data.load("cifar100-sample", images(tmp_path / "root", shade=3)).digest
    assert own != digits.digest
    monkeypatch.setenv("FEDSIEGE_DATA", str(tmp_path / "root"))
    assert data.load("cifar100-sample").digest == own


def test_the_version_of_the_code_is_that_of_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str, text: str) -> str:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        return node.code_version.__wrapped__()

    monkeypatch.setattr(node, "__file__", str(tmp_path / "bench" / "runs" / "cluster" / "node.py"))
    first = version("defenses/krum.py", "one")
    assert version("README.md", "no code") == first
    assert version("defenses/__pycache__/krum.pyc", "no source") == first
    assert len({first, version("defenses/krum.py", "two"), version("attacks/krum.py", "two")}) == 3
    assert version("attacks/krum.py", "") != version("attacks/dlg.py", "")


def test_without_ray_it_is_told_how_to_get_it(
    bench: Callable[..., Any], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    done = bench("run", "--suite", "tiny.toml", "--ray", "auto")
    assert (done.code, done.out) == (2, "")
    (line,) = done.err.splitlines()
    assert line.startswith("fedsiege: --ray needs Ray: pip install 'fedsiege[cluster]'")
    assert not (tiny.parent / "runs").exists()


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
