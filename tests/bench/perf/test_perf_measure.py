"""From pytest-benchmark's report to an entry, and the tracker that puts into it what is needed."""

import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.base.errors import BadInputError
from bench.perf import measure as perf
from bench.perf import peak
from bench.perf.compare import compare
from bench.perf.history import Entry
from bench.perf.measure import Sample, Tracking, figure, measure, name, parse, summarize
from bench.perf.peak import peak_bytes
from bench.perf.tracker import KEY, Tracker, rounds_for

ROOT = Path(__file__).parents[3]


def sample(times: list[float], matmul: float = 1.0, stream: float = 1.0, peak_bytes: int | None = None) -> Sample:
    count = len(times) + 1
    marks = {"matmul": [matmul] * count, "stream": [stream] * count}
    return Sample(times, Tracking(normaliser="mixed", kernel_version=1, marks=marks, peak_bytes=peak_bytes))


def test_a_figure_is_the_median_of_the_passes_medians() -> None:
    # passes: 4 / 2 = 2, 9 / 3 = 3, 10 / 1 = 10
    passes = [sample([4.0, 4.0, 99.0], 4.0, 1.0, 100), sample([9.0], 9.0, 1.0, 200), sample([10.0], 1.0, 1.0, 300)]
    found = figure(passes)
    assert (found.median, found.low, found.high) == (3, 2, 10)
    assert (found.seconds, found.peak_bytes) == (9, 200)


def test_an_entry_leaves_out_what_was_not_in_every_pass() -> None:
    both = {"mean": sample([1.0], matmul=2.0), "krum": sample([1.0])}
    entry = summarize([both, {"mean": sample([3.0], matmul=4.0)}], quick=True)
    assert list(entry.benchmarks) == ["mean"]
    assert entry.calibration == {"matmul": 3, "stream": 1}
    assert entry.disturbance == pytest.approx(1.5)
    assert (entry.passes, entry.quick) == (2, True)
    assert entry.environment.cpu


def test_a_benchmark_is_named_by_its_file_and_function() -> None:
    assert name("tests/performance/test_speed.py::test_krum[1000]") == "speed.krum[1000]"


def test_a_report_gives_its_tracked_benchmarks_only() -> None:
    tracking = {"normaliser": "stream", "kernel_version": 1, "marks": {"matmul": [1.0], "stream": [1.0]}}
    stats = {"data": [0.5], "min": 0.5}
    tracked = {"fullname": "test_a.py::test_b", "stats": stats, "extra_info": {KEY: tracking, "more": 1}}
    plain = {"fullname": "test_a.py::test_c", "stats": stats, "extra_info": {}}
    found = parse(json.dumps({"benchmarks": [tracked, plain], "version": "5"}).encode())
    assert list(found) == ["a.b"]
    assert found["a.b"].times == [0.5]
    assert found["a.b"].tracking.normaliser == "stream"


def test_a_report_that_is_none_is_refused_in_one_line() -> None:
    with pytest.raises(BadInputError, match="report cannot be read"):
        parse(b"{")


class FakeBenchmark:
    """pytest-benchmark's fixture as far as the tracker needs it."""

    def __init__(self, disabled: bool = False) -> None:
        self.disabled = disabled
        self.extra_info: dict[str, Any] = {}

    def pedantic(self, function: Callable[[], Any], setup: Callable[[], None], rounds: int) -> Any:
        for _ in range(rounds):
            setup()
            result = function()
        return result


def test_the_tracker_marks_every_round_on_both_sides() -> None:
    benchmark = FakeBenchmark()
    calls: list[int] = []
    result = Tracker(benchmark)(lambda: calls.append(1) or len(calls), by="stream", rounds=4, clients=7)
    tracking = Tracking.model_validate(benchmark.extra_info[KEY])
    assert result == len(calls) == 5  # one call beforehand
    assert tracking.normaliser == "stream"
    assert {kernel: len(marks) for kernel, marks in tracking.marks.items()} == {"matmul": 5, "stream": 5}
    assert min(map(min, tracking.marks.values())) > 0
    assert tracking.peak_bytes is None
    assert benchmark.extra_info["clients"] == 7


def test_a_disabled_benchmark_calls_its_function_once() -> None:
    benchmark = FakeBenchmark(disabled=True)
    calls: list[int] = []
    Tracker(benchmark)(lambda: calls.append(1))
    assert len(calls) == 1
    assert KEY not in benchmark.extra_info


@pytest.mark.parametrize(("seconds", "rounds"), [(10.0, 7), (0.05, 20), (1e-6, 60)])
def test_as_many_rounds_as_fit_into_a_second(seconds: float, rounds: int) -> None:
    assert rounds_for(seconds) == rounds


@pytest.mark.skipif(not peak.CLEAR.exists(), reason="needs Linux")
def test_the_peak_of_a_call_is_what_it_takes_at_once() -> None:
    found = peak_bytes(lambda: (np.ones(4 * 2**20), np.ones(4 * 2**20)))
    again = peak_bytes(lambda: [np.ones(4 * 2**20).sum() for _ in range(2)])
    assert found == pytest.approx(2**26, rel=0.1)
    assert again == pytest.approx(2**25, rel=0.1)


def test_where_the_system_does_not_tell_there_is_no_peak(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(peak, "CLEAR", tmp_path / "absent" / "file")
    assert peak_bytes(lambda: None) is None


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"--benchmarks .*absent is not a folder"):
        measure(tmp_path / "absent", quick=False, passes=1)


@pytest.mark.parametrize("package", ["pytest", "pytest_benchmark"])
def test_a_package_that_is_missing_is_named_before_anything_is_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, package: str
) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else real(name))
    monkeypatch.setattr(perf, "play", lambda *_: pytest.fail("measured"))
    with pytest.raises(
        BadInputError, match=rf"^perf needs {package}, which is not installed: pip install -e '\.\[dev\]'$"
    ):
        measure(tmp_path, quick=True, passes=1)


PLAIN = "import pytest\n\n@pytest.mark.performance\ndef test_plain(tracked): tracked(lambda: sum(range(9)))\n"
NEEDS_DATA = PLAIN.replace("def", "@pytest.mark.data('mnist')\ndef").replace("test_plain", "test_needs")
ABSENT = r"data root \S+nowhere is not a directory: set FEDSIEGE_DATA or --data to a torchvision root"


@pytest.fixture
def without_mnist(planted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The conftest of the real benchmarks, on a machine where MNIST cannot be had."""
    monkeypatch.setenv("FEDSIEGE_DATA", str(planted / "nowhere"))
    ours = (ROOT / "tests" / "performance" / "conftest.py").read_text()
    thread = "\n\n@pytest.fixture(scope='session')\ndef _one_thread() -> None: ...\n"
    (planted / "conftest.py").write_text(ours + thread)
    (planted / "test_data.py").write_text(NEEDS_DATA)
    return planted


@pytest.mark.integration
def test_a_benchmark_without_its_data_is_left_out_and_told(without_mnist: Path) -> None:
    (without_mnist / "test_speed.py").write_text(PLAIN)
    told: list[str] = []
    entry = measure(without_mnist, quick=False, passes=1, announce=told.append)
    assert list(entry.benchmarks) == ["speed.plain"]
    (line,) = [line for line in told if line.startswith("left out: ")]
    assert re.search(rf"{ABSENT}$", line)


@pytest.mark.slow
def test_where_all_benchmarks_lack_their_data_nothing_is_measured(without_mnist: Path) -> None:
    (without_mnist / "test_speed.py").unlink(missing_ok=True)
    with pytest.raises(BadInputError, match=rf"no benchmarks marked performance .*{ABSENT}"):
        measure(without_mnist, quick=False, passes=1)


@pytest.mark.slow  # the next test has a failing benchmark too
def test_a_failing_benchmark_is_told_to_the_end_of_its_sentence(planted: Path) -> None:
    sentence = (
        "a sentence of more than eighty characters, which a terminal of the usual width would cut in two, to the end"
    )
    (planted / "test_speed.py").write_text(
        f"import pytest\n@pytest.mark.performance\ndef test_bad(): raise ValueError({sentence!r})\n"
    )
    with pytest.raises(BadInputError, match=f"ValueError: {sentence}$"):
        measure(planted, quick=False, passes=1)


@pytest.mark.integration
def test_a_failing_benchmark_is_named(planted: Path) -> None:
    (planted / "test_speed.py").write_text("import pytest\n@pytest.mark.performance\ndef test_bad(): assert 0\n")
    with pytest.raises(BadInputError, match=r"do not pass: FAILED .*test_bad"):
        measure(planted, quick=False, passes=1)


def test_a_comparison_knows_what_is_slower_new_and_gone(make_entry: Callable[..., Entry]) -> None:
    base = make_entry(mean=10.0, krum=10.0, median=10.0)
    run = make_entry(1, mean=(11.0, 10.0, 12.0), krum=(14.0, 13.0, 15.0), rsa=1.0)
    found = compare(run, base, 0.25)
    assert {row.name: row.verdict for row in found.rows} == {"mean": "same", "krum": "slower"}
    assert (found.slower, found.added, found.gone) == (["krum"], ["rsa"], ["median"])
    assert found.rows[1].as_dict()["low"] == pytest.approx(1.3)
    assert compare(make_entry(1, quick=True, mean=1.0), base, 0.25).gone == []


def test_memory_is_compared_where_both_runs_have_it(make_entry: Callable[..., Entry]) -> None:
    plain = make_entry().benchmarks["mean"]
    entries = [make_entry(mean=plain.model_copy(update={"peak_bytes": size})) for size in (100, 150, None)]
    assert compare(entries[1], entries[0], 0.25).rows[0].memory == 1.5
    assert compare(entries[1], entries[2], 0.25).rows[0].memory is None
