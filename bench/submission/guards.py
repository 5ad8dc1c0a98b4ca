"""What a submission's process is kept from, and what is watched while one of its steps runs.

Python cannot hold code that is out to harm: there is no wall between a defense and the interpreter that runs it. The
network can be taken from the whole process where Linux gives it an empty network namespace; everything else here sees
what honest mistakes and plain cheating do, and says so in a sentence (docs/submitting.md has what it does not see).
"""

import contextlib
import ctypes
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any

from bench.base.events import LOADED

NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # sched.h: CLONE_NEWUSER, CLONE_NEWNET

NETWORK_EVENTS = ("socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo")
PROCESS_EVENTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.forkpty")
LOOKING_EVENTS = (
    *("gc.get_objects", "gc.get_referrers", "gc.get_referents"),
    *("sys._getframe", "sys._current_frames", "sys.settrace", "sys.setprofile"),
)
LOOKING_ATTRIBUTES = ("tb_frame", "gi_frame", "f_code", "__closure__", "__globals__")
"""Audited attributes that lead out of what a function was given: to the frames of its callers, to others' variables."""

PASSED_ON = (f"{os.sep}inspect.py", f"{os.sep}traceback.py", f"{os.sep}contextlib.py")
CODE_FILES = (".py", ".pyc", ".pyi", ".so", ".pth", ".pyd", ".dll", ".dylib")
SYSTEM_FOLDERS = ("/proc/", "/sys/", "/dev/")
DATA_FILES = ("sklearn/datasets/data",)


def leave_network() -> str:
    """Take the network from this process and all that it starts, where Linux lets us; what is guaranteed, in words.

    To be called before there are threads: a process that has some cannot get a user namespace of its own.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        owner = os.getuid(), os.getgid()
        if libc.unshare(NEW_NETWORK) == 0:
            return "none: an empty network namespace"
        if libc.unshare(NEW_USER | NEW_NETWORK) == 0:
            _keep_identity(*owner)
            return "none: an empty network namespace"
    return "refused to Python's sockets only: this platform gives us no network namespace"


def _keep_identity(user: int, group: int) -> None:
    """In the new user namespace, the process stays who it was."""
    with contextlib.suppress(OSError):
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")


@cache
def refuse_network() -> None:
    """From now on Python's own sockets reach nothing but processes of this machine; an audit hook stays for good."""

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in NETWORK_EVENTS and not _is_local(arguments):
            raise PermissionError("a submission has no network")

    sys.addaudithook(hook)


def _is_local(arguments: tuple[Any, ...]) -> bool:
    """Whether the socket is one of the system's own (AF_UNIX), with which worker processes talk."""
    return getattr(getattr(arguments[0], "family", None), "name", "") == "AF_UNIX"


@dataclass
class Watch:
    """Notes what the submission's file does that no step of a defense has to do."""

    file: str
    data_folders: tuple[str, ...] = ()
    trips: dict[str, str] = field(default_factory=dict)  # what was done, and the first step in which it was
    _step: str = ""
    _busy: bool = False

    def install(self) -> None:
        """For the rest of the process; it notes nothing outside of `during`."""
        sys.addaudithook(self._hook)

    @contextlib.contextmanager
    def during(self, step: str) -> Iterator[None]:
        """Watch what runs inside, as the step of that name; `import` may read files other than data."""
        before, self._step = self._step, step
        try:
            yield
        finally:
            self._step = before

    def note(self, what: str) -> None:
        """Something that was done in the present step; outside of all steps the bench itself did it."""
        if self._step:
            self.trips.setdefault(what, self._step)

    def _hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self._step or self._busy:
            return
        self._busy = True  # looking at frames is audited too
        try:
            if (what := self._noteworthy(event, arguments)) is not None:
                self.note(what)
        finally:
            self._busy = False

    def _noteworthy(self, event: str, arguments: tuple[Any, ...]) -> str | None:
        if event == LOADED:
            return f"it loads the data set {arguments[0]!r}"
        if event == "open":
            return self._opened(str(arguments[0]))
        if event in NETWORK_EVENTS:
            return None if _is_local(arguments) else "it reaches for the network"
        if event in PROCESS_EVENTS:
            return "it starts another process" if self._step != "import" or self._is_caller() else None
        if event in LOOKING_EVENTS:
            return f"it looks around with {event}" if self._is_caller() else None
        if event == "object.__getattr__" and arguments[1] in LOOKING_ATTRIBUTES:
            return f"it looks around through {arguments[1]}" if self._is_caller() else None
        return None

    def _opened(self, name: str) -> str | None:
        if any(folder in name for folder in (*DATA_FILES, *self.data_folders)):
            return f"it opens {name}, which holds data of the benchmark"
        harmless = self._step == "import" or name.isdigit() or name.startswith(SYSTEM_FOLDERS)
        return None if harmless or name.endswith(CODE_FILES) else f"it opens {name}"

    def _is_caller(self) -> bool:
        """Whether the submission's file, itself or through the standard library's helpers, has caused the event."""
        frame: FrameType | None = sys._getframe()
        while frame is not None and frame.f_code.co_filename.endswith((__file__, *PASSED_ON)):
            frame = frame.f_back
        return frame is not None and frame.f_code.co_filename == self.file
