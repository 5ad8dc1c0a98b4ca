"""A job in a process of its own, with limits of time and memory; what it tells comes back line by line.

Guaranteed: the process and all that it starts end when a step's time is over; where `/proc` is there, also when they
hold too much memory together, as looked at ten times a second; the environment's variables that nobody needs stay here.
The process may read and write what its user may.
"""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import registry
from bench.base import arithmetic
from bench.submission.referee import walls

LOOK_SECONDS = 0.1
ROOT = Path(__file__).parents[2]
KEPT = (
    *("PATH", "HOME", "LANG", "TMPDIR", "VIRTUAL_ENV", "PYTHONUSERBASE", "LD_LIBRARY_PATH", "FEDSIEGE_DATA"),
    "XDG_CACHE_HOME",
)
KEPT_ENDINGS = ("_NUM_THREADS", "_INSTRUCTIONS")
"""Variables by which torch, BLAS and MKL choose how they add up, beside those of `bench.base.arithmetic`."""

LONGEST_LINE, MOST_LINES = 2**22, 10**6
"""Of what a job tells: bytes of one line, and how many there may be."""

Event = dict[str, Any]
"""One line of what the process tells: `event` says what it is."""


@dataclass(frozen=True)
class Bounds:
    """What a job may take: seconds by the clock from one line that it tells to the next, so that a slow start of the
    interpreter counts for itself, and MiB of memory that it holds alone, with all that it starts.
    """

    seconds: float | None
    mebibytes: int
    whole: bool = False  # the seconds are for all of it: what lines it tells is up to the file itself


@dataclass(frozen=True)
class Finished:
    """All that a job told, and why it ended early, in words; None where it came to its end."""

    events: list[Event]
    broken: str | None

    def last(self, event: str) -> Event | None:
        """The last line of that kind."""
        return next((line for line in reversed(self.events) if line["event"] == event), None)

    def all(self, event: str) -> list[Event]:
        return [line for line in self.events if line["event"] == event]


def call(
    job: Mapping[str, Any],
    packages: Sequence[Path],
    bounds: Bounds,
    *,
    heard: Callable[[Event], None] = lambda event: None,
    hash_seed: str = "0",
    quiet: bool = True,
    walled: bool = False,
) -> Finished:
    """Run the job with the packages' folders on its path; `heard` is told each line as it comes.

    It knows the names that files of one's own (`--load`) have brought here. Where it is `walled`, it runs behind the
    walls of this system: what runs the file's code in its own process.

    What the process prints is dropped where it is `quiet`, and goes to standard error otherwise.
    """
    reader, writer = os.pipe()
    with tempfile.NamedTemporaryFile("w", suffix=".json", encoding="utf-8") as file:
        loaded = [(one.path, one.content.hex()) for one in registry.loaded_files()]
        json.dump({**job, "mebibytes": bounds.mebibytes, "loaded": loaded}, file)
        file.flush()
        prefix = walls.prefix([Path(file.name), *packages]) if walled else ()
        process = subprocess.Popen(
            [*prefix, sys.executable, "-P", "-m", "bench.submission.child", file.name, str(writer)],
            env=_environment(packages, hash_seed),
            pass_fds=[writer],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if quiet else sys.stderr.fileno() if _has_number(sys.stderr) else None,
            stderr=subprocess.DEVNULL if quiet else None,
            start_new_session=True,
        )
        os.close(writer)
        try:
            return _listen(process, reader, bounds, heard)
        finally:
            _end(process)
            os.close(reader)


def _listen(process: subprocess.Popen[bytes], reader: int, bounds: Bounds, heard: Callable[[Event], None]) -> Finished:
    """Read until the process ends or oversteps a bound."""
    started, rest, events = time.monotonic(), b"", list[Event]()
    broken: str | None = None
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if selector.select(LOOK_SECONDS):
                if not (read := os.read(reader, 65536)):
                    break
                *lines, rest = (rest + read).split(b"\n")
                if len(rest) > LONGEST_LINE or len(events) + len(lines) > MOST_LINES:
                    broken = "it said more than a job has to say"
                    break
                for line in lines:
                    if (event := _event(line)) is None:
                        broken = "it said what no job says"
                        break
                    events.append(event)
                    heard(event)
                if broken is not None:
                    break
                started = time.monotonic() if lines and not bounds.whole else started
            elif process.poll() is not None:
                break  # what it has started holds the pipe open
            if (broken := _overstepped(process.pid, time.monotonic() - started, bounds)) is not None:
                break
    if broken is None:
        code = process.wait()
        if code < 0:
            broken = f"its process was killed by {signal.Signals(-code).name}"
        elif not events:
            broken = f"its process never came up (exit code {code})"
        elif code > 0 or not events or events[-1]["event"] != "end":
            broken = f"its process ended with exit code {code} before it was done"
    return Finished(events, broken)


def _event(line: bytes) -> Event | None:
    """A line as what it says; None where it is none of ours."""
    try:
        event = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event if isinstance(event, dict) and isinstance(event.get("event"), str) else None


def _overstepped(leader: int, seconds: float, bounds: Bounds) -> str | None:
    if bounds.seconds is not None and seconds > bounds.seconds:
        return f"it was not done after {bounds.seconds:g} seconds"
    if (held := _held(leader)) > bounds.mebibytes * 2**20:
        return f"it held {held / 2**20:.0f} MiB of memory, more than the {bounds.mebibytes} that it may"
    return None


def _held(leader: int) -> int:
    """Bytes that the processes of a session hold for themselves; 0 where the system does not tell."""
    held = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if int(status.read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[3]) == leader:
                _, resident, shared = status.with_name("statm").read_text(encoding="ascii").split()[:3]
                held += (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return held


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill the whole group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _environment(packages: Sequence[Path], hash_seed: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name in KEPT or name.endswith(KEPT_ENDINGS)}
    path = os.pathsep.join(filter(None, [*map(str, packages), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return {
        **kept,
        **arithmetic.variables(),
        "PYTHONPATH": path,
        "PYTHONHASHSEED": hash_seed,
        "PYTHONDONTWRITEBYTECODE": "1",
        "TORCHINDUCTOR_CACHE_DIR": tempfile.gettempdir(),  # else torch looks for a folder that it can write into
    }


def _has_number(stream: Any) -> bool:
    """Whether a process can be given the stream; pytest's stand-ins for standard error have no file behind them."""
    try:
        return bool(stream.fileno() >= 0)
    except (OSError, AttributeError, ValueError):
        return False
