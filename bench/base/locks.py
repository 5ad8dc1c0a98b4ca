"""A lock on one cell, so that two runs on one results folder share the work; the system lets go of it for the dead.

`filelock` would leave its file behind for good, and results are published; this one is removed by whoever holds it.
"""

import errno
import fcntl
import os
import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

HELD = {errno.EAGAIN, errno.EACCES}
NO_LOCKS = {errno.ENOSYS, errno.ENOTSUP, errno.ENOLCK}
"""A file system that knows no locks: two runs at once may repeat a cell there, and the last record stays."""


@dataclass(frozen=True)
class Lock:
    """A lock that this process holds."""

    path: Path
    handle: int

    def release(self) -> None:
        """Let go of it, and leave no file."""
        self.path.unlink(missing_ok=True)  # first: whoever locks the file afterwards sees that it is no longer there
        os.close(self.handle)


def take(path: Path) -> Lock | None:
    """The lock in this file, or None where another run holds it; never waits. Raises `OSError` for a bad folder.

    Nothing has to be known of a holder that died, here or on another machine: its lock went with it. What the file
    says (process, machine, since when) is for people.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(handle)
                if error.errno in HELD:
                    return None
                raise
        if _is_there(path, handle):
            return _signed(Lock(path, handle))
        os.close(handle)  # its last holder has removed it since we opened it


def _is_there(path: Path, handle: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def _signed(lock: Lock) -> Lock:
    holder = f"{os.getpid()} {socket.gethostname()} {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n"
    try:
        os.ftruncate(lock.handle, 0)
        os.write(lock.handle, holder.encode())
    except BaseException:
        lock.release()
        raise
    return lock
