"""Locks on cells: one holder at a time, none left by the dead, no file left by anybody."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench.base.locks import take

HOLDER = "import sys, time; from pathlib import Path; from bench.base.locks import take; take(Path(sys.argv[1])); {}"
ROOT = Path(__file__).parents[3]


def holder(path: Path, then: str) -> "subprocess.Popen[str]":
    code = HOLDER.format(f"print('held', flush=True); {then}")
    return subprocess.Popen([sys.executable, "-c", code, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_lock_has_one_holder_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "deep" / ".cell.lock"
    lock = take(path)
    assert lock is not None
    assert take(path) is None
    assert path.read_text().startswith(f"{os.getpid()} ")
    lock.release()
    assert list(path.parent.iterdir()) == []
    again = take(path)
    assert again is not None
    again.release()


def test_a_file_that_nobody_holds_is_no_lock(tmp_path: Path) -> None:
    """As a killed run leaves it; whatever it says."""
    path = tmp_path / ".cell.lock"
    path.write_text(f"{os.getpid()} this-machine 2020-01-01T00:00:00Z, and a longer line than the new holder's\n")
    lock = take(path)
    assert lock is not None
    assert len(path.read_text().splitlines()) == 1
    assert "2020" not in path.read_text()
    lock.release()


def test_the_lock_of_another_process_holds_until_it_is_killed(tmp_path: Path) -> None:
    path = tmp_path / ".cell.lock"
    other = holder(path, "time.sleep(60)")
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        assert take(path) is None
        assert path.read_text().startswith(f"{other.pid} ")
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    lock = take(path)
    assert lock is not None
    lock.release()


def test_a_lock_that_its_holder_has_just_removed_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking the file its holder lets go of it, and a third run makes a new one."""
    path, real, third = tmp_path / ".cell.lock", fcntl.flock, []
    first = take(path)
    assert first is not None

    def slow(handle: int, how: int) -> None:
        if not third:
            third.append(None)
            first.release()
            third.append(take(path))
        real(handle, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    assert take(path) is None
    assert third[1] is not None
    third[1].release()
    assert list(tmp_path.iterdir()) == []


def test_many_processes_never_hold_it_together(tmp_path: Path) -> None:
    """Each adds one to a number that it reads first; without the lock some additions would be lost."""
    number = tmp_path / "number"
    number.write_text("0")
    code = (
        "import sys; from pathlib import Path; from bench.base.locks import take\n"
        "path, number = Path(sys.argv[1]), Path(sys.argv[2])\n"
        "for _ in range(100):\n"
        "    while (lock := take(path)) is None: pass\n"
        "    number.write_text(str(int(number.read_text()) + 1)); lock.release()\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / ".cell.lock"), str(number)]
    assert [run.wait(60) for run in [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]] == [0, 0, 0]
    assert number.read_text() == "300"


@pytest.mark.parametrize("fault", [errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP])
def test_a_file_system_without_locks_is_worked_on_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: int
) -> None:
    def refuse(handle: int, how: int) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lock = take(tmp_path / ".cell.lock")
    assert lock is not None
    lock.release()
    assert list(tmp_path.iterdir()) == []


def test_handles_are_closed(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    for _ in range(50):
        lock = take(tmp_path / ".cell.lock")
        assert lock is not None
        assert take(tmp_path / ".cell.lock") is None
        lock.release()
    after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0  # noqa: PTH208
    assert after == before
