"""Runs of the real command line that can be struck: their processes, and when they are in the middle of their work."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

LONGEST = 1800.0
"""Seconds after which a run that has not ended is taken to hang; the machine may be busy with other things."""

LINGERING = 600.0
"""Seconds that a run's processes may outlive it: where they have just begun, they first import what they need."""


@dataclass(frozen=True)
class Ended:
    """How a run ended, and what it said."""

    code: int
    out: str
    err: str
    hung: bool
    orphans: int  # processes of it that outlived it for too long


@dataclass(frozen=True)
class Place:
    """A suite's file and the folder of its results."""

    suite: Path
    results: Path

    @property
    def folder(self) -> Path:
        return self.results / self.suite.stem

    def records(self) -> dict[str, Path]:
        """The files of its records and pictures, by their place below the folder."""
        found = [path for ending in ("json", "png") for path in self.folder.glob(f"*/*/*.{ending}")]
        return {path.relative_to(self.folder).as_posix(): path for path in sorted(found)}

    def locks(self) -> list[Path]:
        return sorted(self.folder.glob("*/*/.*.lock"))


class Run:
    """`python -m bench run` in a process group of its own."""

    def __init__(self, place: Place, *options: str, file_size: int | None = None) -> None:
        command = [sys.executable, "-m", "bench", "run", "--suite", str(place.suite), "--results", str(place.results)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}

        def limit() -> None:
            if file_size is not None:
                resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, file_size))

        self.place, self.began = place, time.monotonic()
        self.process = subprocess.Popen(
            [*command, "--json", *options],
            cwd=place.results.parent,
            env=environment,
            process_group=0,  # not a session: that would take it out of the caller's share of the processor
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=limit,  # a full disk: no file may grow beyond this
        )

    @property
    def is_over(self) -> bool:
        return self.process.poll() is not None

    def at_work(self, seconds: float = 600.0) -> bool:
        """Wait until it has begun a cell; False where it ended, or did not begin in time."""
        return self.wait_for(lambda: bool(self.place.locks()), seconds)

    def wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for a condition; False where the run ended first, or the time is over."""
        end = time.monotonic() + seconds
        while not self.is_over and time.monotonic() < end:
            if condition():
                return True
            time.sleep(0.02)
        return False

    def server(self) -> int | None:
        """Its fork server."""
        return next(
            (pid for pid, line in _children(self.process.pid).items() if "multiprocessing.forkserver" in line), None
        )

    def workers(self) -> list[int]:
        server = self.server()
        return [] if server is None else list(_children(server))

    def kill(self) -> bool:
        """`kill -9` of the driver; whether it was still there."""
        was_there = not self.is_over
        self.process.kill()
        return was_there

    def interrupt(self) -> bool:
        """Ctrl-C, which reaches the driver and all its processes; whether the driver was still there."""
        was_there = not self.is_over
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)
        return was_there

    def ended(self) -> Ended:
        """Wait for its end, and for that of its processes."""
        hung = False
        try:
            self.process.wait(LONGEST)
        except subprocess.TimeoutExpired:
            hung = True
            self.process.kill()
            self.process.wait()
        end = time.monotonic() + LINGERING
        while (left := group(self.process.pid)) and time.monotonic() < end:
            time.sleep(0.05)
        for pid in left:
            strike(pid)
        out, err = self.process.communicate()  # both fit into their pipes
        return Ended(self.process.returncode, out, err, hung, len(left))


def strike(pid: int | None) -> bool:
    """`kill -9`; whether there was somebody to kill."""
    if pid is None:
        return False
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def group(leader: int) -> list[int]:
    """The living processes of a group."""
    return [pid for pid, fields in _all().items() if fields[2] == str(leader) and fields[0] != "Z"]


def _children(parent: int) -> dict[int, str]:
    """Living children and their command lines."""
    found = {}
    for pid, fields in _all().items():
        if fields[1] == str(parent) and fields[0] != "Z":
            with contextlib.suppress(OSError):
                found[pid] = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    return found


def _all() -> dict[int, list[str]]:
    """State, parent and group of every process (proc(5): what follows the name in brackets)."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            found[int(folder.name)] = (folder / "stat").read_text().rpartition(")")[2].split()[:3]
    return found
