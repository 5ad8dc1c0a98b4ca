"""The engine's end: processes behind the walls, one for each role, and a party in them for each cell.

A role's process (clients, channel, server, attack) imports torch once and forks a party whenever one is asked for; two
roles never share one, so that no file, signal or memory passes between the sides of a defense.
"""

import atexit
import os
import site
import socket
import subprocess
import sys
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from bench.base import arithmetic
from bench.submission.referee import walls
from bench.submission.referee.wire import WALLED, Arena, Header, Tensors, WireError, receive, room_for, send

Role = Literal[
    "public",
    "clients",
    "other clients",
    "channel",
    "server",
    "attack",
    "goal",
    "imagined clients",
    "imagined channel",
    "imagined server",
]
"""Who a party is. A round that an attacker imagines has parties of its own: what it sends tells who is Byzantine.

Other clients send under another generator, where noise is measured. What goal a backdoor has is asked where nobody
has seen a model.
"""

SECONDS = 60.0
"""The longest that one call may take."""

STARTING = 240.0
"""The longest that a process may take to import torch and the bench: none of the file's code runs in it by then."""

LARGEST_MEMORY = 16
"""What a party may keep from round to round, in messages `(m, d)` of its round."""

STARTED = 4096
"""Bytes of the first arenas; they grow with what passes."""


@dataclass(frozen=True)
class Code:
    """A submitted class: its file, its name in it, under which name it is registered, and data that it may not see."""

    file: Path
    module: str
    class_name: str
    name: str
    hidden: tuple[Path, ...] = ()

    @property
    def readable(self) -> tuple[Path, ...]:
        """What a process must see of it beside what all see."""
        return () if any(self.file.is_relative_to(walls.ROOT / name) for name in walls.CODE) else (self.file,)


class _Process:
    """The process of one role, which forks parties."""

    def __init__(self, code: Code) -> None:
        self._living: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._seconds = STARTING
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        prefix = walls.prefix(code.readable, code.hidden)
        command = [*prefix, sys.executable, "-P", "-m", "bench.submission.referee.host", str(theirs.fileno())]
        users_own = {"PYTHONUSERBASE": site.getuserbase()} if site.ENABLE_USER_SITE else {}
        variables = {
            **users_own,
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": "/nonexistent",
            "PYTHONPATH": str(walls.ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONDONTWRITEBYTECODE": "1",
            **({WALLED: "1"} if prefix else {}),
            **arithmetic.variables(),
            **{name: os.environ[name] for name in os.environ if name.endswith("_NUM_THREADS")},
        }
        self._process = subprocess.Popen(
            command,
            env=variables,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        theirs.close()

    def fork(self) -> socket.socket:
        """The engine's end of a new party; `OSError` or `EOFError` where the process is gone.

        Where no party lives any more, whatever they have left behind is ended first.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._control.settimeout(self._seconds)
            beside = any(end.fileno() >= 0 for end in self._living)
            socket.send_fds(self._control, [b"beside" if beside else b"alone"], [theirs.fileno()])
            if not self._control.recv(16):
                raise EOFError
            self._seconds = SECONDS  # from now on it has nothing to import
        except (OSError, EOFError):
            ours.close()
            raise
        finally:
            theirs.close()
        self._living.add(ours)
        return ours

    def end(self) -> None:
        self._control.close()
        self._process.kill()
        self._process.wait()


_processes: dict[tuple[Role, tuple[Path, ...], tuple[Path, ...]], _Process] = {}


def _fork(role: Role, code: Code) -> socket.socket:
    """A party in the role's process, which is started once, and again where it has died."""
    key = (role, code.readable, code.hidden)
    for attempt in (1, 2):
        process = _processes.get(key)
        if process is None:
            process = _processes[key] = _Process(code)
        try:
            return process.fork()
        except (OSError, EOFError):
            _processes.pop(key).end()
            if attempt == 2:
                raise RuntimeError(f"the process for the {role} of {code.name} cannot be started") from None
    raise AssertionError


@atexit.register
def end_all() -> None:
    """End the processes of all roles."""
    while _processes:
        _processes.popitem()[1].end()


class Party:
    """One party of one cell; what it is asked it must answer in time, in the shapes that were asked for."""

    def __init__(self, role: Role, code: Code, parameters: Mapping[str, Any]) -> None:
        self._what = f"the {role} of {code.name}" if role != "attack" else code.name
        self._end = _fork(role, code)
        self._end.settimeout(SECONDS)
        self._arenas: tuple[Arena, Arena] | None = None
        weakref.finalize(self, self._end.close)
        self.call(
            "load",
            file=str(code.file),
            module=code.module,
            class_name=code.class_name,
            name=code.name,
            parameters=dict(parameters),
            threads=torch.get_num_threads(),
        )

    def call(
        self,
        do: str,
        tensors: Mapping[str, Tensor] | None = None,
        room: int = 0,
        imagine: Callable[[Tensor], Tensor] | None = None,
        **more: Any,
    ) -> tuple[Header, Tensors]:
        """What the party answers, and the tensors that it gives, which may take `room` bytes.

        Raises `ValueError` for what it refuses, and `RuntimeError` for all else that goes wrong.
        """
        tensors = tensors or {}
        try:
            self._make_room(room_for(tensors), room)
            assert self._arenas is not None
            given, made = self._arenas
            send(self._end, {"do": do, "tensors": given.write(tensors), **more})
            header = receive(self._end)
            while header.get("imagine") is True and imagine is not None:
                send(self._end, self._imagined(header, imagine))
                header = receive(self._end)
            self._raise(header)
            return header, made.read(header["tensors"]) if header.get("tensors") else {}
        except TimeoutError:
            raise RuntimeError(f"{self._what} has not done {do} after {SECONDS:g} seconds") from None
        except (OSError, EOFError):
            raise RuntimeError(f"the process of {self._what} ended during {do}") from None
        except WireError as error:
            raise RuntimeError(f"{self._what} gave nothing that can be used in {do}: {error}") from None

    def _imagined(self, header: Header, imagine: Callable[[Tensor], Tensor]) -> Header:
        assert self._arenas is not None
        given, made = self._arenas
        asked = made.read(header.get("tensors"))
        if set(asked) != {"messages"}:
            raise WireError("it does not say what messages the rule should be tried on")
        try:
            return {"tensors": given.write({"change": imagine(asked["messages"])})}
        except ValueError as error:
            return {"raised": "ValueError", "told": plain(str(error))}

    def _raise(self, header: Header) -> None:
        if "raised" not in header:
            return
        kind, told = plain(str(header["raised"])), plain(str(header.get("told", "")))
        if header.get("refusal") is True:
            raise ValueError(told)
        raise RuntimeError(f"{kind} in {self._what}: {told}")

    def _make_room(self, given: int, made: int) -> None:
        """Larger arenas where these do not hold what passes."""
        if self._arenas is not None and given <= self._arenas[0].size and made <= self._arenas[1].size:
            return
        before = (STARTED, STARTED) if self._arenas is None else (self._arenas[0].size, self._arenas[1].size)
        arenas = Arena.make(max(given, before[0])), Arena.make(max(made, before[1]))
        for old in self._arenas or ():
            old.close()
        self._arenas = arenas
        send(self._end, {"do": "arenas", "sizes": [arena.size for arena in arenas]})
        receive(self._end)
        socket.send_fds(self._end, [b"arenas"], [arena.descriptor for arena in arenas])
        self._raise(receive(self._end))


def printable(text: str) -> str:
    """A name of somebody else's in a line of signs that can be printed, whatever bytes it is made of."""
    return plain(text.encode("utf-8", "replace").decode(), 4000)


def plain(text: str, longest: int = 300) -> str:
    """Somebody else's text in one line of signs that can be printed."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())[:longest]
