"""A run killed between any two operations on its folder, disks that are full, folders that cannot be written."""

import errno
import multiprocessing
import os
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench.runs import workers
from tests.bench.helpers.faults import hidden, recorded, undisturbed, undisturbed_rest
from tests.bench.helpers.suites import faults

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"),
]


@pytest.mark.usefixtures("_plugin")
def test_a_run_killed_at_any_file_operation_leaves_nothing_half_written(tmp_path: Path) -> None:
    """Before its n-th operation on the folder, for every n; where that is a rename, its file is cut in half."""
    suite = tmp_path / "faults.toml"
    suite.write_text(faults(tags="[1]", seeds="[0]"))
    expected = undisturbed(suite, tmp_path / "calm")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([*workers.PRELOAD, "bench.runs.jobs"])
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


# ------------------------------------------------------------------------------------------------------ full, read-only


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    """The file of a suite of one row."""
    path = tmp_path / "small.toml"
    path.write_text(faults("median"))
    return path


def test_a_full_disk_is_one_line_and_loses_nothing(bench: Callable[..., Any], tmp_path: Path, suite: Path) -> None:
    """The system refuses to let any file grow past a limit; some records fit and some do not."""
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
    assert done.err.splitlines() == ["fedsiege: cannot write under runs/faults: File too large"]
    kept = recorded(tmp_path / "runs")
    assert kept.items() <= expected.items()
    assert 0 < len(kept) < len(expected)
    assert hidden(tmp_path / "runs") == []
    assert undisturbed_rest(suite, tmp_path / "runs") == expected


@pytest.mark.parametrize("fault", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
@pytest.mark.parametrize("where", ["mkdir", "open", "write", "fsync", "replace"])
def test_what_the_file_system_refuses_is_one_line(
    bench: Callable[..., Any],
    tmp_path: Path,
    suite: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
    fault: int,
) -> None:
    real = getattr(os, where)

    def refuse(path: Any, *arguments: Any, **options: Any) -> Any:
        if isinstance(path, int) or "runs/faults" in os.fspath(path):
            raise OSError(fault, os.strerror(fault))
        return real(path, *arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(os, where, refuse)
        done = bench("run", "--suite", str(suite), "--workers", "1", "--quiet")
    assert (done.code, done.out) == (2, "")
    assert done.err.splitlines() == [f"fedsiege: cannot write under runs/faults: {os.strerror(fault)}"]
    assert [path for path in (tmp_path / "runs").rglob("*") if path.is_file()] == []
