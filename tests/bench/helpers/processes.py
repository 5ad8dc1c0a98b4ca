"""Other processes, as /proc tells of them (proc(5)), and waiting for what they do."""

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE, Popen

from tests.bench.helpers.forks import Forked

ROOT = Path(__file__).parents[3]
PLUGIN = Path(__file__).parents[1] / "faults"
"""The folder of the defenses that die, hoard and linger, as a package of its own gives them to workers."""

STOPPED = "fedsiege: stopped; what was finished is recorded, the same command goes on from there"
"""What a run says to Ctrl-C."""


def comes_true(condition: Callable[[], bool], seconds: float = 120) -> bool:
    """Whether it does within these seconds."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def children(parent: int) -> list[int]:
    """The processes that a process started and that have not ended."""
    return [pid for pid, (_, of, _) in _living().items() if of == parent]


def group(leader: int) -> list[int]:
    """The processes of a group that have not ended."""
    return [pid for pid, (_, _, of) in _living().items() if of == leader]


def is_running(process: int) -> bool:
    """Whether it has not ended."""
    return process in _living()


def install(base: Path, *names: str) -> str:
    """Write the facts of a package that brings these of the plugin's defenses below `base`; the PYTHONPATH with it."""
    info = base / "site" / "fedsiege_faults-1.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fedsiege-faults\nVersion: 1\n")
    entries = (f"{name.lower()} = fedsiege_faults:{name}\n" for name in names)
    (info / "entry_points.txt").write_text("[fedsiege.defenses]\n" + "".join(entries))
    return os.pathsep.join(map(str, (info.parent, PLUGIN, ROOT)))


def start_bench(folder: Path, *arguments: str, **variables: str) -> "Popen[str]":
    """`python -m bench ...` in this folder and in a session of its own, forked; keywords are environment variables."""
    command = [sys.executable, "-m", "bench", *arguments]
    environment = {**os.environ, **variables}
    ignored = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores Ctrl-C
    try:
        return Forked(command, cwd=folder, env=environment, start_new_session=True, stdout=PIPE, stderr=PIPE, text=True)
    finally:
        signal.signal(signal.SIGINT, ignored)


def _living() -> dict[int, tuple[str, int, int]]:
    """State, parent and group of every process that is not a zombie."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it may end while we look
            state, parent, of = path.read_text().rpartition(")")[2].split()[:3]
            if state != "Z":
                found[int(path.parent.name)] = (state, int(parent), int(of))
    return found
