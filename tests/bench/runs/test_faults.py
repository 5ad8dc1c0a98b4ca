"""Real faults: processes killed, two runs at once; what is recorded is what an undisturbed run records.

Workers, fork servers and drivers are killed from within cells, each cell in a round of its own, once: with the retry
every cell must come out right. The numbers of faults and of compared cells stand in each test's assertions.
"""

import json
import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from bench import registry
from bench.records import Store
from bench.runs import runner
from bench.suite import load
from tests.bench.helpers.faults import hidden, recorded, undisturbed
from tests.bench.helpers.processes import STOPPED, comes_true, group, install, start_bench
from tests.bench.helpers.registry import copied
from tests.bench.helpers.suites import FAULTS
from tests.bench.helpers.suites import faults as faults_of

CELLS = 24
RUN = ("run", "--suite", "faults.toml", "--workers", "2", "--json")

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is recorded of the 24 cells where nobody dies."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "faults.toml").write_text(FAULTS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_registered", copied())
        for place in install(folder, "Mortal").split(os.pathsep)[:2]:
            patch.syspath_prepend(place)
        return undisturbed(folder / "faults.toml", folder / "results")


def start(tmp_path: Path, *options: str, **variables: str) -> "subprocess.Popen[str]":
    named = {f"FEDSIEGE_TEST_{name}": value for name, value in variables.items()}
    return start_bench(tmp_path, *RUN, *options, **named)


@pytest.mark.usefixtures("_plugin")
@pytest.mark.parametrize(
    ("tags", "drivers"), [([2, 5], 2), pytest.param([1, 2, 3, 4, 5, 6], 4, marks=pytest.mark.slow)], ids=["8", "24"]
)
def test_whoever_is_killed_the_records_are_those_of_an_undisturbed_run(
    tmp_path: Path, expected: dict[str, Any], tags: list[int], drivers: int
) -> None:
    """Each of 8 or 24 cells kills its worker, its fork server or the driver once; drivers are started again."""
    (tmp_path / "faults.toml").write_text(faults_of(tags=str(tags)))
    expected = {key: one for key, one in expected.items() if one["cell"]["defense"]["parameters"]["tag"] in tags}
    cells = 4 * len(tags)
    faults, results = tmp_path / "had", tmp_path / "runs" / "faults"
    faults.mkdir()
    codes: list[int] = []
    while not codes or codes[-1] < 0:
        kinds = "worker,server,worker,driver" if len(codes) < drivers else "worker,server"
        run = start(tmp_path, FAULTS=str(faults), KINDS=kinds)
        told = run.communicate(timeout=100)
        codes.append(run.returncode)
        if results.exists():
            for path in list(results.glob("*/*/*.json"))[:3]:  # as a write leaves them that broke off
                path.with_name(f".{path.name}.abcd1234").write_bytes(path.read_bytes()[:100])
    assert codes[-1] == 0, told
    assert set(codes[:-1]) <= {-signal.SIGKILL}
    had = Counter(path.suffix for path in faults.iterdir())
    found = recorded(tmp_path / "runs")
    differences = [key for key in expected if found.get(key) != expected[key]]
    assert (len(found), differences) == (cells, []), f"{had} faults, {len(found)} cells compared"
    assert had[".driver"] >= len(codes) - 1 >= 1  # two workers may kill one driver at once
    print(f"{dict(had)} faults, {len(found)} records compared, {len(differences)} differences")
    assert had[".had"] == cells, had
    assert min(had[".worker"], had[".server"]) >= 1, had
    assert not any(name.endswith(".lock") for name in hidden(results))


@pytest.mark.usefixtures("_plugin")
def test_two_runs_on_one_folder_share_the_work(tmp_path: Path, expected: dict[str, Any]) -> None:
    """Each cell starts once, whichever run has it; both end with all records."""
    faults = tmp_path / "had"
    faults.mkdir()
    both = [start(tmp_path, FAULTS=str(faults), PAUSE="0.03") for _ in range(2)]
    told = [run.communicate(timeout=100) for run in both]
    assert [run.returncode for run in both] == [0, 0], told
    summaries = [json.loads(out) for out, _ in told]
    assert sum(summary["ran"] for summary in summaries) == CELLS, summaries
    assert [summary["ran"] + summary["already_there"] for summary in summaries] == [CELLS, CELLS]
    started = Counter(line.split()[0] for line in (faults / "started.log").read_text().splitlines())
    assert (len(started), set(started.values())) == (CELLS, {1}), started
    assert recorded(tmp_path / "runs") == expected
    assert hidden(tmp_path / "runs") == []


@pytest.mark.usefixtures("_plugin")
def test_what_a_killed_run_had_begun_another_one_finishes(tmp_path: Path, expected: dict[str, Any]) -> None:
    """The other one is this process, which has made records while the killed one was at work on others."""
    results = tmp_path / "runs"
    dies = start(tmp_path, "--fresh", PAUSE="0.2")
    assert comes_true(lambda: any(results.rglob(".*.lock")))
    loaded, store = load(str(tmp_path / "faults.toml")), Store(results, "faults")
    lives = runner.run(runner.plan(loaded, loaded.cells(), store, None).tasks, store, 1)
    for _ in range(6):
        next(lives)
    held = [path for path in results.rglob(".*.lock") if path.stat().st_size]
    dies.kill()
    dies.communicate()
    list(lives)
    assert held
    assert recorded(results) == expected
    assert hidden(results) == []


@pytest.mark.usefixtures("_plugin")
def test_control_c_leaves_no_process_and_one_line(tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal sends it."""
    run = start(tmp_path, PAUSE="0.5")
    assert comes_true(lambda: any((tmp_path / "runs").rglob(".*.lock")))
    time.sleep(1)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (130, "")
    assert err.splitlines() == [STOPPED]
    assert hidden(tmp_path / "runs") == []
    assert comes_true(lambda: not group(run.pid), seconds=10)
