"""Builders for the tests of performance tracking: entries, a folder of benchmarks."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bench.perf.calibration import KERNEL_VERSION
from bench.perf.history import Entry, Figure
from bench.records import Environment

CPU = "Some CPU 6-1-1, AVX2"


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
