"""Lost workers, limits of time and memory: the cell is failed, in words, and the others go on."""

import errno
import multiprocessing
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from bench.base.errors import BadInputError
from bench.records import Record, Store
from bench.runs import runner, workers
from bench.runs.workers import NO_LIMITS, Limits
from bench.suite import Suite, load
from tests.bench.helpers.suites import faults

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]


def play(
    tmp_path: Path, defense: dict[str, Any], limits: Limits = NO_LIMITS, count: int = 2, seeds: tuple[int, ...] = (0, 1)
) -> list[Record]:
    """A defense and FedAvg, a cell each for every seed, without an attack."""
    content = load(str(tmp_path / "faults.toml")).model_dump(mode="json")
    rows, attack = [defense, {"name": "fedavg"}], [{"name": "ipm", "byzantine": 0}]
    suite = Suite(**{**content, "defense": rows, "attack": attack, "seeds": seeds})
    store = Store(tmp_path / "results", suite.name)
    tasks = runner.plan(suite, suite.cells(), store, None).tasks
    made = list(runner.run(tasks, store, count, limits=limits))
    assert len(made) == 2 * len(seeds)
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
    made = play(tmp_path, {"name": "hoarder", "seconds": 60}, Limits(seconds=3), count, seeds=(0,))
    assert [(record.status, record.error) for record in made] == [
        ("failed", "it ran longer than --cell-timeout 3 seconds")
    ]
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
    (tmp_path / "faults.toml").write_text(faults("median"))
    loaded, store = load(str(tmp_path / "faults.toml")), Store(tmp_path / "results", "faults")
    monkeypatch.setattr(workers, "_serve", print)  # its pipe is closed at once
    monkeypatch.setattr(workers, "SETTLE_SECONDS", [0.01 * pause for pause in workers.SETTLE_SECONDS])
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
    (tmp_path / "faults.toml").write_text(faults("median"))
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
    workers._serve(here, lambda task: pytest.fail("there was no task"), ())
