"""Builders for the tests of performance tracking: entries, a folder of benchmarks, the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench import cli
from bench.perf.calibration import KERNEL_VERSION
from bench.perf.history import Entry, Figure
from bench.records import Environment

ROOT = Path(__file__).parents[3]
CPU = "Some CPU 6-1-1, AVX2"


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
        with pytest.raises(SystemExit) as ended:
            cli.main()
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


@pytest.fixture
def make_entry() -> Callable[..., Entry]:
    """An entry `day` days after the first; keywords are benchmarks: a median, or (median, low, high)."""

    def make(day: int = 0, commit: str | None = "abc", cpu: str = CPU, quick: bool = False, **figures: Any) -> Entry:
        return Entry(
            date=datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day),
            environment=Environment(
                fedsiege="0.1.0", python="3.11", torch="2.4", numpy="2.0", machine="x86_64",
                device="cpu", threads=2, commit=commit, cpu=cpu,
            ),
            cores=2,
            passes=3,
            quick=quick,
            kernel_version=KERNEL_VERSION,
            calibration={"matmul": 0.002, "stream": 0.001},
            disturbance=1.05,
            benchmarks={name: _figure(value) for name, value in (figures or {"mean": 10.0}).items()},
        )  # fmt: skip

    return make


def _figure(value: Any) -> Figure:
    if isinstance(value, Figure):
        return value
    middle, low, high = value if isinstance(value, tuple) else (value, value, value)
    return Figure(normaliser="mixed", median=middle, low=low, high=high, seconds=middle / 1000)


CONFTEST = """
import pytest

from bench.perf.tracker import Tracker


@pytest.fixture
def tracked(benchmark):
    return Tracker(benchmark)
"""

PLANTED = """
import os
import time

import pytest
import torch

from defenses.fedavg import weighted_mean

pytestmark = pytest.mark.performance


def test_plain(tracked):
    messages = torch.ones(1000, 1000)
    assert tracked(lambda: weighted_mean(messages))[0] == 1


def test_planted(tracked):
    messages = torch.ones(1000, 1000)

    def aggregate():
        time.sleep(float(os.environ.get("PLANTED_SECONDS", "0")))
        return weighted_mean(messages)

    assert tracked(aggregate, memory=True)[0] == 1
"""


@pytest.fixture
def planted(tmp_path: Path) -> Path:
    """A folder with two benchmarks, of which one sleeps PLANTED_SECONDS in its aggregation."""
    folder = tmp_path / "planted"
    folder.mkdir()
    (folder / "conftest.py").write_text(CONFTEST)
    (folder / "test_speed.py").write_text(PLANTED)
    return folder
