"""Play the benchmarks: pytest as a process of its own, several times over, and one entry out of what it measured.

How two runs on shared machines compare was measured, not guessed: seven functions (mean, median, Krum, DPBFL's
randomizer, shuffler and analyzer, NISS's exchange) on two virtual cores, 15 processes of 15 rounds undisturbed, and 10
beside a neighbour that kept one of the two cores busy while five of the functions ran.

- Kernels beside every round, not once a run. Beside the neighbour, raw medians rose to 1.4 to 5.4 times; over the mixed
  kernels, those of mean, Krum, randomizer and shuffler stayed between 0.9 and 1.4 times.
- Medians, not minima: beside the neighbour, minima over minima rose to 1.4 to 2.5 times for the same four, because a
  quiet moment for the one is not one for the other. Undisturbed, they scattered by 2 to 6 % from process to process,
  medians by 1 to 5 % (as raw medians do: undisturbed, on one machine, there is nothing to normalise).
- `mixed` unless there is a reason: beside the neighbour, medians over the product alone rose to up to 1.6 times, those
  over the stream alone fell to 0.7; undisturbed, `mixed` scattered less than either for five of the seven.
- Several processes: one pass of a function differs from another by up to 13 % (24 % for the analyzer, which takes under
  3 ms), the median of three passes by up to 8 %. Hence three passes, their range as the spread, 25 % as threshold.

The quick set of those seven, run eleven times unchanged, three passes each, within 20 minutes of a shared machine: no
alarm in any of the 110 ordered pairs. In one of the runs a neighbour raised raw times to 5.4 times; no normalised ratio
rose above 1.34. Had one of two such runs been 1.5 times slower throughout, 73 to 100 % of the pairs would have told
(the analyzer's 56 %); what hides it is one bad pass in the base. A baseline therefore takes five passes: the outermost
two are left out of its spread.

What stays: a function on one thread looks faster beside a busy neighbour (the median 0.4), since the kernels suffer on
both. Such a run is known by its kernels' own scatter, `disturbance`: 1.05 to 1.09 undisturbed, 1.2 to 4.5 beside a
neighbour. It is told, and makes no good baseline.
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from statistics import median
from typing import Any

from pydantic import BaseModel, ValidationError

from bench.base.device import CPU, describe
from bench.base.errors import BadInputError
from bench.perf.calibration import KERNEL_VERSION, KERNELS, Normaliser, combine
from bench.perf.history import Entry, Figure
from bench.perf.statistics import disturbance, normalised, over_passes
from bench.perf.tracker import KEY
from bench.records import environment, now
from bench.runs.runner import default_workers

THREADS = 2
"""Threads of the benchmarks, whatever the machine has: the targets are set for two cores."""

NEEDED = ("pytest", "pytest_benchmark")
"""Packages that the benchmarks run on, which a plain installation does not bring."""

NO_TESTS_COLLECTED = 5  # pytest's exit code

Announce = Callable[[str], None]


class Tracking(BaseModel):
    """What `Tracker` left in a benchmark's `extra_info`."""

    normaliser: Normaliser
    kernel_version: int
    marks: dict[str, list[float]]
    peak_bytes: int | None = None


@dataclass(frozen=True)
class Sample:
    """One benchmark in one pass: seconds of its rounds, and its tracking."""

    times: list[float]
    tracking: Tracking


Samples = dict[str, Sample]


def measure(folder: Path, quick: bool, passes: int, announce: Announce = lambda line: None, device: str = CPU) -> Entry:
    """Play the set `passes` times and sum it up; `BadInputError` where there is none, or a benchmark fails."""
    for package in NEEDED:
        if importlib.util.find_spec(package) is None:
            raise BadInputError(f"perf needs {package}, which is not installed: pip install -e '.[dev]'")
    if not folder.is_dir():
        raise BadInputError(f"--benchmarks {folder} is not a folder")
    played = []
    for index in range(passes):
        announce(f"pass {index + 1} of {passes}")
        played.append(play(folder, quick, device, announce if index == 0 else lambda line: None))
    return summarize(played, quick, describe(device))


def play(folder: Path, quick: bool, device: str = CPU, announce: Announce = lambda line: None) -> Samples:
    """One pass: all tracked benchmarks of a folder, in a fresh process; why some were skipped is announced."""
    with tempfile.TemporaryDirectory() as temporary:
        report = Path(temporary) / "report.json"
        command = [
            sys.executable, "-m", "pytest", str(folder), "-q", "-rfEs", "--tb=no", "-p", "no:cacheprovider",
            "-m", "performance and quick" if quick else "performance",
            "--benchmark-disable-gc", f"--benchmark-json={report}", *([] if device == CPU else [f"--device={device}"]),
        ]  # fmt: skip
        alone = {key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")}
        alone["COLUMNS"] = "1000"  # pytest cuts the sentences of its summary where the terminal ends
        done = subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False, env=alone)
        wanted = "benchmarks marked performance" + (" and quick" if quick else "")
        if done.returncode == NO_TESTS_COLLECTED:
            raise BadInputError(f"no {wanted} in {folder}")
        if done.returncode != 0:
            raise BadInputError(f"the benchmarks in {folder} do not pass: {_failures(done)}")
        text = report.read_bytes() if report.exists() else b""
    samples = parse(text)
    skipped = "; ".join(line for line in done.stdout.splitlines() if line.startswith("SKIPPED"))
    if not samples:
        why = f" ({skipped})" if skipped else ""
        raise BadInputError(f"no {wanted} in {folder} that use the fixture `tracked`{why}")
    if skipped:
        announce(f"left out: {skipped}")
    return samples


def parse(report: bytes) -> Samples:
    """The tracked benchmarks of a pytest-benchmark report; others, such as the kernels' own, are for people to read."""
    if not report:
        return {}
    try:
        result = _Report.model_validate_json(report).benchmarks
        return {
            name(timed.fullname): Sample(timed.stats.data, Tracking.model_validate(timed.extra_info[KEY]))
            for timed in result
            if KEY in timed.extra_info
        }
    except ValidationError as error:
        raise BadInputError(f"pytest-benchmark's report cannot be read: {error.errors()[0]['msg']}") from None


def name(fullname: str) -> str:
    """`tests/performance/test_speed.py::test_krum[1000]` as `speed.krum[1000]`."""
    path, _, function = fullname.partition("::")
    return f"{Path(path).stem.removeprefix('test_')}.{function.removeprefix('test_')}"


def summarize(played: Sequence[Samples], quick: bool, device: str = CPU) -> Entry:
    """One entry from all passes; a benchmark that was not in every pass is left out."""
    names = [key for key in played[0] if all(key in samples for samples in played)]
    kernels = [[_marks(played, key, kernel) for key in names] for kernel in KERNELS]
    return Entry(
        date=now(),
        environment=environment(device, THREADS),
        cores=default_workers(),
        passes=len(played),
        quick=quick,
        kernel_version=KERNEL_VERSION,
        calibration={kernel: median(chain(*marks)) for kernel, marks in zip(KERNELS, kernels, strict=True)},
        disturbance=max(median(map(disturbance, marks)) for marks in kernels),
        benchmarks={key: figure([samples[key] for samples in played]) for key in names},
    )


def _marks(played: Sequence[Samples], key: str, kernel: str) -> list[float]:
    """What a kernel took beside one benchmark, in all passes."""
    return [mark for samples in played for mark in samples[key].tracking.marks[kernel]]


def figure(samples: Sequence[Sample]) -> Figure:
    """One benchmark's figure from its sample in each pass."""
    first = samples[0].tracking
    spread = over_passes(
        [normalised(sample.times, combine(first.normaliser, sample.tracking.marks)) for sample in samples]
    )
    peaks = [sample.tracking.peak_bytes for sample in samples if sample.tracking.peak_bytes is not None]
    return Figure(
        normaliser=first.normaliser,
        median=spread.middle,
        low=spread.low,
        high=spread.high,
        seconds=median(median(sample.times) for sample in samples),
        peak_bytes=round(median(peaks)) if peaks else None,
    )


def _failures(done: subprocess.CompletedProcess[str]) -> str:
    """What pytest's short summary names, or its last line."""
    lines = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    return "; ".join(lines) or (done.stderr or done.stdout).strip().rpartition("\n")[2]


class _Stats(BaseModel):
    data: list[float]


class _Timed(BaseModel):
    fullname: str
    stats: _Stats
    extra_info: dict[str, Any]


class _Report(BaseModel):
    benchmarks: list[_Timed]
