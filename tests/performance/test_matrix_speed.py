"""The whole digits matrix through the real command line, with one worker and with two; and how soon `list` answers."""

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench.suite import load

pytestmark = pytest.mark.performance


def command(*arguments: str) -> float:
    """Seconds of `python -m bench` with these arguments."""
    before = time.perf_counter()
    subprocess.run([sys.executable, "-m", "bench", *arguments], check=True, capture_output=True)
    return time.perf_counter() - before


def test_digits_matrix(benchmark: Any, tmp_path: Path) -> None:
    """One run each, one after the other: the ratio is of the same minutes of the machine."""
    run = ("run", "--suite", "digits", "--quiet")
    alone = command(*run, "--workers", "1", "--results", str(tmp_path / "one"))
    benchmark.pedantic(lambda: command(*run, "--workers", "2", "--results", str(tmp_path / "two")), rounds=1)
    both = benchmark.stats.stats.median
    benchmark.extra_info |= {"one_worker_seconds": round(alone, 1), "ratio": round(alone / both, 2)}
    print(f"digits: {alone:.1f} s with one worker, {both:.1f} s with two, {alone / both:.2f} times as fast")
    records = [len(list((tmp_path / name).rglob("*.json"))) for name in ("one", "two")]
    suite = load("digits")
    assert records == [len(suite.cells()) * len(suite.seeds)] * 2


def test_list_starts(benchmark: Any) -> None:
    benchmark.pedantic(lambda: command("list"), rounds=7, warmup_rounds=1)
    assert benchmark.stats.stats.median > 0
