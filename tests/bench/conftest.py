"""Builders that the tests of the engine share: a tiny suite, its cells, a registry that forgets, the command line."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from bench import cli, registry
from bench.data import Dataset, load
from bench.plays import cell as cells
from bench.plays import inversion as leakage
from bench.plays.cell import Outcome
from bench.plays.findings import Task
from bench.protocol import Delivered, ServerRound
from bench.records import Record
from bench.suite import Cell, Suite
from defenses.fedavg import FedAvg
from tests.bench.helpers import stored
from tests.bench.helpers.processes import install
from tests.bench.helpers.registry import copied
from tests.bench.helpers.suites import FAULTS, ROWS, TINY

ROOT = Path(__file__).parents[2]
SUITE: dict[str, Any] = {
    "name": "tiny",
    "title": "t",
    "seeds": [0],
    "federation": {
        "dataset": "digits",
        "clients": 9,
        "samples_per_client": 20,
        "rounds": 3,
        "local_steps": 2,
        "batch_size": 10,
        "lr": 0.5,
        "assumed_byzantine": 0.25,
    },
    "privacy": {
        "targets": 2,
        "model": "lenet",
        "samples_per_client": 1,
        "local_steps": 1,
        "batch_size": 1,
        "rounds": 2,
        "lr": 0.1,
        "dtype": "float64",
    },
}
SMALL = """
name = "small"
title = "two defenses, two attacks"
seeds = [0, 1]

[federation]
dataset = "digits"
clients = 10
rounds = 3
local_steps = 1
lr = 0.1

[privacy]
targets = 2
rounds = 2
lr = 0.7

[[defense]]
name = "fedavg"

[[defense]]
name = "krum"
num_selected = 2
[defense.federation]
lr = 0.3
batch_size = 9

[[attack]]
name = "gaussian"
byzantine = [0.0, 0.2]
s = 3.0

[[attack]]
name = "dlg"
"""
SIGN_FLIP = {"name": "sign_flip", "byzantine": 2 / 9}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """The file of a suite of two defenses and two attacks."""
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path


@pytest.fixture(scope="session")
def tiny_suite() -> Callable[..., str]:
    """The text of a suite file with some seconds of work, of which a test gives the rows, tables of defenses on."""

    def text(rows: str, seeds: str = "[0]", clients: int = 6, assumed_byzantine: float = 0.16) -> str:
        return TINY.format(seeds=seeds, clients=clients, assumed_byzantine=assumed_byzantine) + rows

    return text


@pytest.fixture(scope="session")
def suite_text(tiny_suite: Callable[..., str]) -> str:
    """The file of a suite of six records: two defenses, a forging attack and a curious one."""
    return tiny_suite(ROWS)


@pytest.fixture(scope="session")
def digits() -> Dataset:
    return load("digits")


def _make_cell(defense: dict[str, Any], attack: dict[str, Any] | None = None, **federation: Any) -> Cell:
    content = {**SUITE, "federation": {**SUITE["federation"], **federation}}
    found = Suite(**content, defense=[defense], attack=[attack or SIGN_FLIP]).cells()
    return found[0] if attack is None else found[-1]


def _make_task(cell: Cell, seed: int = 0, recovered_psnr: float = 20.0) -> Task:
    return Task("tiny", "s", cell, seed, threads=1, data_root=None, recovered_psnr=recovered_psnr)


def _outcome(
    defense: str | dict[str, Any], attack: dict[str, Any] | None = None, seed: int = 0, **given: Any
) -> Outcome:
    named = {"name": defense} if isinstance(defense, str) else defense
    return cells.run_cell(_make_task(_make_cell(named, attack, **given), seed))


@pytest.fixture(scope="session")
def make_cell() -> Callable[..., Cell]:
    """The attacked cell of a suite that holds nothing else; the clean one without an attack.

    Training has 9 clients with 20 digits, 3 rounds; inversion has two targets and two rounds.
    """
    return _make_cell


@pytest.fixture(scope="session")
def make_task() -> Callable[..., Task]:
    return _make_task


@pytest.fixture(scope="session")
def outcome() -> Callable[..., Outcome]:
    """What playing such a cell gives: its record and the files beside it."""
    return _outcome


@pytest.fixture(scope="session")
def play() -> Callable[..., Record]:
    def record(*arguments: Any, **given: Any) -> Record:
        return _outcome(*arguments, **given).record

    return record


@pytest.fixture(scope="session")
def but_for_times() -> Callable[[Record], dict[str, Any]]:
    """All of a record that must not depend on when it was made."""

    return stored.but_for_times


@pytest.fixture(scope="session")
def forget() -> Callable[[], None]:
    """Inversions that a process has done already are done anew."""

    def clear() -> None:
        for found in vars(leakage).values():
            if hasattr(found, "cache_clear"):
                found.cache_clear()

    return clear


@pytest.fixture
def _registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes that a test registers are forgotten after it."""
    monkeypatch.setattr(registry, "_registered", copied())


@pytest.fixture
def _broken(_registry: None) -> None:
    """A defense `broken` that raises in its first round; forgotten after the test."""

    @registry.register("defense", "broken")
    class Broken(FedAvg):
        def aggregate(self, delivered: Delivered, server: ServerRound) -> torch.Tensor:
            raise RuntimeError("cannot aggregate")


@pytest.fixture
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _registry: None) -> None:
    """The package of `faults`, installed for this process, its workers and the processes that a test starts.

    The suite of its mortal cells lies in `faults.toml`.
    """
    for name in ("FAULTS", "KINDS", "PAUSE"):
        monkeypatch.delenv(f"FEDSIEGE_TEST_{name}", raising=False)
    path = install(tmp_path, "Mortal", "Doomed", "Hoarder")
    for folder in path.split(os.pathsep)[:2]:
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", path)
    (tmp_path / "faults.toml").write_text(FAULTS)


@pytest.fixture
def _global_generators() -> Iterator[None]:
    """Nothing may draw from a global generator."""
    before = (random.getstate(), str(np.random.get_state()), torch.get_rng_state())  # noqa: NPY002
    yield
    assert random.getstate() == before[0]
    assert str(np.random.get_state()) == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Done]:
    """`python -m bench ...` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Done:
        monkeypatch.setattr(sys, "argv", ["fedsiege", *arguments])
        before = signal.getsignal(signal.SIGINT)
        try:
            with pytest.raises(SystemExit) as ended:
                cli.main()
        finally:
            signal.signal(signal.SIGINT, before)
        told = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Done(ended.value.code, told.out, told.err)

    return call


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., Done]:
    """`python -m bench ...` as a process of its own, in an empty folder; keywords are environment variables."""

    def call(*arguments: str, **variables: str) -> Done:
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        environment = {**os.environ, "PYTHONPATH": path, **variables}
        command = [sys.executable, "-m", "bench", *arguments]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        return Done(done.returncode, done.stdout, done.stderr)

    return call
