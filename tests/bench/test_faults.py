"""Real faults: processes killed, disks full, two runs at once; what is recorded is what an undisturbed run records.

Workers, fork servers and drivers are killed from within cells, each cell in a round of its own, once: with the retry
every cell must come out right. The numbers of faults and of compared cells stand in each test's assertions.
"""

import errno
import json
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bench_processes import STOPPED, comes_true, group, install, start_bench
from bench_stored import contents

from bench import runner, workers
from bench.errors import BadInputError
from bench.records import Record, Store
from bench.suite import Suite, load
from bench.workers import NO_LIMITS, Limits

SUITE = """
name = "faults"
title = "cells in which somebody dies"
seeds = [0, 1]
[federation]
dataset = "digits"
clients = 6
samples_per_client = 10
rounds = 5
local_steps = 1
batch_size = 5
lr = 0.5
assumed_byzantine = 0.17
[[defense]]
name = "mortal"
tag = [1, 2, 3, 4, 5, 6]
[[attack]]
name = "sign_flip"
byzantine = [0.17]
"""
CELLS = 24
RUN = ("run", "--suite", "faults.toml", "--workers", "2", "--json")

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc")


@pytest.fixture
def _plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, _registry: None) -> None:
    """The package of `faults`, installed for this process, its workers and the processes that a test starts."""
    for name in ("FAULTS", "KINDS", "PAUSE"):
        monkeypatch.delenv(f"FEDSIEGE_TEST_{name}", raising=False)
    path = install(tmp_path, "Mortal", "Doomed", "Hoarder")
    for folder in path.split(os.pathsep)[:2]:
        monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", path)
    (tmp_path / "faults.toml").write_text(SUITE)


def recorded(results: Path) -> dict[str, Any]:
    return contents(Store(results, "faults"))


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob(".*") if path.is_file()]


def undisturbed(suite: Path, results: Path) -> dict[str, Any]:
    loaded = load(str(suite))
    store = Store(results, loaded.name)
    tasks = runner.plan(loaded, loaded.cells(), store, None).tasks
    assert {record.status for record in runner.run(tasks, store, 1)} == {"ok"}
    return contents(store)


def start(tmp_path: Path, *options: str, **variables: str) -> "subprocess.Popen[str]":
    named = {f"FEDSIEGE_TEST_{name}": value for name, value in variables.items()}
    return start_bench(tmp_path, *RUN, *options, **named)


# --------------------------------------------------------------------------------------------------------- real kills


@pytest.mark.usefixtures("_plugin")
def test_whoever_is_killed_the_records_are_those_of_an_undisturbed_run(tmp_path: Path) -> None:
    """Each of 24 cells kills its worker, its fork server or the driver once; drivers are started again."""
    expected = undisturbed(tmp_path / "faults.toml", tmp_path / "calm")
    faults, results = tmp_path / "had", tmp_path / "results" / "faults"
    faults.mkdir()
    codes: list[int] = []
    while not codes or codes[-1] < 0:
        kinds = "worker,server,worker,driver" if len(codes) < 4 else "worker,server"
        run = start(tmp_path, FAULTS=str(faults), KINDS=kinds)
        told = run.communicate(timeout=100)
        codes.append(run.returncode)
        if results.exists():
            for path in list(results.glob("*/*/*.json"))[:3]:  # as a write leaves them that broke off
                path.with_name(f".{path.name}.abcd1234").write_bytes(path.read_bytes()[:100])
    assert codes[-1] == 0, told
    assert set(codes[:-1]) <= {-signal.SIGKILL}
    had = Counter(path.suffix for path in faults.iterdir())
    found = recorded(tmp_path / "results")
    differences = [key for key in expected if found.get(key) != expected[key]]
    assert (len(found), differences) == (CELLS, []), f"{had} faults, {len(found)} cells compared"
    assert had[".driver"] == len(codes) - 1 >= 1
    print(f"{dict(had)} faults, {len(found)} records compared, {len(differences)} differences")
    assert had[".had"] == CELLS, had
    assert min(had[".worker"], had[".server"]) >= 1, had
    assert not any(name.endswith(".lock") for name in hidden(results))


@pytest.mark.usefixtures("_plugin")
def test_two_runs_on_one_folder_share_the_work(tmp_path: Path) -> None:
    """Each cell starts once, whichever run has it; both end with all records."""
    expected = undisturbed(tmp_path / "faults.toml", tmp_path / "calm")
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
    assert recorded(tmp_path / "results") == expected
    assert hidden(tmp_path / "results") == []


@pytest.mark.usefixtures("_plugin")
def test_what_a_killed_run_had_begun_another_one_finishes(tmp_path: Path) -> None:
    expected = undisturbed(tmp_path / "faults.toml", tmp_path / "calm")
    faults = tmp_path / "had"
    faults.mkdir()
    dies = start(tmp_path, "--fresh", FAULTS=str(faults), PAUSE="0.2")
    assert comes_true(lambda: any((tmp_path / "results").rglob(".*.lock")))
    lives = start(tmp_path, FAULTS=str(faults))
    assert comes_true(lambda: len(list((tmp_path / "results").rglob("*.json"))) >= 6)
    dies.kill()
    told = lives.communicate(timeout=100)
    assert lives.returncode == 0, told
    dies.communicate()
    assert recorded(tmp_path / "results") == expected
    assert hidden(tmp_path / "results") == []


@pytest.mark.usefixtures("_plugin")
def test_control_c_leaves_no_process_and_one_line(tmp_path: Path) -> None:
    """The signal goes to the whole group, as a terminal sends it."""
    run = start(tmp_path, PAUSE="0.5")
    assert comes_true(lambda: any((tmp_path / "results").rglob(".*.lock")))
    time.sleep(1)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=30)
    assert (run.returncode, out) == (130, "")
    assert err.splitlines() == [STOPPED]
    assert hidden(tmp_path / "results") == []
    assert comes_true(lambda: not group(run.pid), seconds=10)


@pytest.mark.usefixtures("_plugin")
def test_a_run_killed_at_any_file_operation_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Before its n-th operation on the folder, for every n; where that is a rename, its file is cut in half."""
    suite = tmp_path / "faults.toml"
    suite.write_text(SUITE.replace("[1, 2, 3, 4, 5, 6]", "[1]").replace("[0, 1]", "[0]"))
    expected = undisturbed(suite, tmp_path / "calm")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*workers.PRELOAD, "bench.jobs"])
    import fedsiege_faults  # type: ignore[import-not-found]  # of the plugin's folder

    kills, compared = 0, 0
    for step in range(1, 200):
        results = tmp_path / f"results-{step}"
        process = context.Process(target=fedsiege_faults.die_at, args=(step, str(suite), str(results)))
        process.start()
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
        found = recorded(results)
        assert found.items() <= expected.items()  # what is there is whole
        assert undisturbed_rest(suite, results) == expected
        compared += len(expected)
        assert all(name.startswith(".leaderboard") for name in hidden(results)), hidden(results)
    assert kills > 20, (kills, compared)
    assert compared == kills * len(expected)
    print(f"{kills} kills at file operations, {compared} records compared, 0 differences")


def undisturbed_rest(suite: Path, results: Path) -> dict[str, Any]:
    loaded = load(str(suite))
    store = Store(results, loaded.name)
    list(runner.run(runner.plan(loaded, loaded.cells(), store, None).tasks, store, 1))
    return recorded(results)


# ------------------------------------------------------------------------------------------------- lost workers, limits


def play(tmp_path: Path, defense: dict[str, Any], limits: Limits = NO_LIMITS, count: int = 2) -> list[Record]:
    """A defense and FedAvg, two seeds each, without an attack."""
    content = load(str(tmp_path / "faults.toml")).model_dump(mode="json")
    suite = Suite(**{**content, "defense": [defense, {"name": "fedavg"}], "attack": [{"name": "ipm", "byzantine": 0}]})
    store = Store(tmp_path / "results", suite.name)
    tasks = runner.plan(suite, suite.cells(), store, None).tasks
    made = list(runner.run(tasks, store, count, limits=limits))
    assert len(made) == 4
    assert {record.status for record in made if record.cell.label == "fedavg"} == {"ok"}
    assert all(store.find(record.cell, record.seed, record.protocol) == record for record in made)
    return [record for record in made if record.cell.label != "fedavg"]


@pytest.mark.usefixtures("_plugin")
@pytest.mark.parametrize(
    ("how", "told"), [(9, "was killed by SIGKILL"), (11, "was killed by SIGSEGV"), (-3, "ended with exit code 3")]
)
def test_a_cell_whose_worker_always_dies_is_failed_and_the_others_go_on(tmp_path: Path, how: int, told: str) -> None:
    made = play(tmp_path, {"name": "doomed", "how": how})
    assert [(record.status, record.error) for record in made] == [("failed", f"its worker process {told}, twice")] * 2


@pytest.mark.usefixtures("_plugin")
@pytest.mark.parametrize("count", [1, 2])
def test_a_cell_that_takes_too_long_is_failed(tmp_path: Path, count: int) -> None:
    began = time.monotonic()
    made = play(tmp_path, {"name": "hoarder", "seconds": 60}, Limits(seconds=3), count)
    assert {(record.status, record.error) for record in made} == {
        ("failed", "it ran longer than --cell-timeout 3 seconds")
    }
    assert time.monotonic() - began < 50


@pytest.mark.usefixtures("_plugin")
def test_a_cell_that_takes_too_much_memory_is_failed(tmp_path: Path) -> None:
    made = play(tmp_path, {"name": "hoarder", "mebibytes": 1200, "seconds": 2}, Limits(mebibytes=1000))
    for record in made:
        assert record.status == "failed"
        assert record.error is not None
        assert re.fullmatch(
            r"its worker process held 1\d\d\d MiB, more than --cell-memory 1000(, twice|; then its .* 1000)",
            record.error,
        )


@pytest.mark.usefixtures("_plugin")
def test_limits_that_are_not_reached_change_nothing(tmp_path: Path) -> None:
    (made, _) = play(tmp_path, {"name": "hoarder", "mebibytes": 50}, Limits(seconds=500, mebibytes=4000))
    assert (made.status, made.error) == ("ok", None)


def test_workers_that_cannot_start_end_the_run_and_record_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "faults.toml").write_text(SUITE.replace("mortal", "median").replace("tag = [1, 2, 3, 4, 5, 6]", ""))
    loaded, store = load(str(tmp_path / "faults.toml")), Store(tmp_path / "results", "faults")
    monkeypatch.setattr(workers, "_serve", print)  # its pipe is closed at once
    with pytest.raises(BadInputError, match=r"^worker processes cannot start: .* 5 times; try --workers 1$"):
        list(runner.run(runner.plan(loaded, loaded.cells(), store, None).tasks, store, 2))
    assert [path for path in store.folder.rglob("*") if path.is_file()] == []
    assert capfd.readouterr().err == ""


def test_a_fork_server_that_dies_while_a_worker_starts_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `multiprocessing` raises then is an `EOFError`, which a command line takes for Ctrl-C.

    A killed one refuses everybody for as long as its memory is given back, on a busy machine a good part of a second.
    """
    (tmp_path / "faults.toml").write_text(SUITE.replace("mortal", "median").replace("tag = [1, 2, 3, 4, 5, 6]", ""))
    loaded, store = load(str(tmp_path / "faults.toml")), Store(tmp_path / "results", "faults")
    real, asked = workers.Worker, list[float]()

    def starting(*given: Any) -> workers.Worker:
        asked.append(time.monotonic())
        if len(asked) == 1:
            raise EOFError("unexpected EOF")
        if asked[-1] < asked[0] + 0.8:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "refused")
        return real(*given)

    monkeypatch.setattr(workers, "Worker", starting)
    made = list(runner.run(runner.plan(loaded, loaded.cells(), store, None).tasks, store, 2))
    assert {record.status for record in made} == {"ok"}
    assert len(asked) > 3


def test_a_worker_whose_driver_died_ends_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it sent was never read: its end of the pipe is reset, not closed."""
    here, there = multiprocessing.Pipe()
    monkeypatch.setattr(workers, "_end_with_the_driver", lambda: here.send("never read") or there.close())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(here, "send", lambda message: None, raising=False)
    workers._serve(here, lambda task: pytest.fail("there was no task"))


# ------------------------------------------------------------------------------------------------------ full, read-only


def small(tmp_path: Path) -> Path:
    suite = tmp_path / "small.toml"
    suite.write_text(SUITE.replace("mortal", "median").replace("tag = [1, 2, 3, 4, 5, 6]", ""))
    return suite


def test_a_full_disk_is_one_line_and_loses_nothing(bench: Callable[..., Any], tmp_path: Path) -> None:
    """The system refuses to let any file grow past a limit; some records fit and some do not."""
    suite = small(tmp_path)
    expected = undisturbed(suite, tmp_path / "calm")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "calm").rglob("*.json"))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        limit = (sizes[0] + sizes[-1]) // 2  # not at an end: the digits of a record's times come and go
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        done = bench("run", "--suite", str(suite), "--workers", "1", "--quiet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == ["fedsiege: cannot write under results/faults: File too large"]
    kept = recorded(tmp_path / "results")
    assert kept.items() <= expected.items()
    assert 0 < len(kept) < len(expected)
    assert hidden(tmp_path / "results") == []
    assert undisturbed_rest(suite, tmp_path / "results") == expected


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["mkdir", "open", "write", "fsync", "replace"])
def test_what_the_file_system_refuses_is_one_line(
    bench: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, fault: int
) -> None:
    suite = small(tmp_path)
    real = getattr(os, where)

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, int) or "results" in os.fspath(path):
            raise OSError(fault, os.strerror(fault))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, where, refuse)
        done = bench("run", "--suite", str(suite), "--workers", "1", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [f"fedsiege: cannot write under results/faults: {os.strerror(fault)}"]
    assert [path for path in (tmp_path / "results").rglob("*") if path.is_file()] == []
