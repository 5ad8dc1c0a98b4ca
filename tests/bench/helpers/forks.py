"""Processes of the bench that start in milliseconds: forked from one that has imported what they all import.

`Forked` is a `subprocess.Popen` of `python [-P] -m MODULE ...` in which nothing else differs: environment, working
directory, path, standard streams, session, exit, and the tests' process as its parent. What a start itself does is
looked at with real ones. Where there is no Linux, and for other commands, it is a plain `Popen`. In such a process the
hosts of parties are forked too, without walls.
"""

import array
import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import random
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from multiprocessing import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from bench import registry
from bench.submission.referee import party, walls

ROOT = Path(__file__).parents[3]
IMPORTED = (
    "bench.cli", "bench.runs.jobs", "bench.plays.cell", "bench.submission.verify", "bench.submission.child",
    "bench.submission.checks",
    "bench.submission.attack_checks", "sklearn.datasets", "torchvision.utils", "torchmetrics.functional.image",
)  # fmt: skip
AT_START = ("PYTHONHASHSEED", "ATEN_", "DNNL_", "MKL_", "NPY_", "OMP_", "ONEDNN_", "OPENBLAS_")
"""How variables begin that an interpreter or its libraries read once: each choice of them has a server of its own."""

SET_CHILD_SUBREAPER = 36
"""Of prctl(2): whose orphaned descendants become the caller's children."""

ABOVE_ALL = 200
"""File descriptors from here on are not those that a process is to have."""


class Forked(subprocess.Popen[Any]):
    """The process, forked where that is possible."""

    def _execute_child(self, args: Any, executable: Any, preexec_fn: Any, *rest: Any) -> None:
        passed, cwd, env, session = *rest[1:4], rest[17]
        options = list(args[1 : args.index("-m")]) if "-m" in args else None
        if sys.platform != "linux" or args[0] != sys.executable or options not in ([], ["-P"]):
            super()._execute_child(args, executable, preexec_fn, *rest)  # type: ignore[misc]  # not in the stubs
            return
        env = {**os.environ} if env is None else dict(env)
        streams = dict(enumerate((rest[7], rest[10], rest[12])))  # the child's ends of its pipes, -1 where it has none
        given = {number: number if of == -1 else of for number, of in streams.items()} | {fd: fd for fd in passed}
        job = {
            "module": args[args.index("-m") + 1], "arguments": args[args.index("-m") + 2 :], "safe_path": bool(options),
            "cwd": os.fspath(cwd or Path.cwd()), "env": env, "session": bool(session), "numbers": list(given),
        }  # fmt: skip
        try:
            self.pid = self._fork(job, list(given.values()))
            self._child_created = True
        finally:
            self._close_pipe_fds(*rest[7:13])  # type: ignore[attr-defined]

    def _fork(self, job: dict[str, Any], descriptors: list[int]) -> int:
        chosen = {name: value for name, value in job["env"].items() if name.startswith(AT_START)}
        return _server(*sorted({"PYTHONHASHSEED": "0", **chosen}.items())).fork(job, descriptors)


class ForkedHere(Forked):
    """A process that is forked from the one that asks for it, and knows nothing of what that one has registered."""

    def _fork(self, job: dict[str, Any], descriptors: list[int]) -> int:
        if (process := os.fork()) == 0:
            with contextlib.suppress(BaseException):
                for classes in registry._registered.values():
                    for name in [name for name, entry in classes.items() if not _is_shipped(entry.found)]:
                        del classes[name]
                _run(job, descriptors)
            os._exit(0)
        return process


def fork_hosts(put: Callable[[Any, str, Any], None], popen: type[Forked]) -> None:
    """From here on the processes in which parties play are forked like this, and have no walls; `put` sets it."""
    put(party, "subprocess", SimpleNamespace(**{**vars(subprocess), "Popen": popen}))
    put(party, "walls", SimpleNamespace(**{**vars(walls), "prefix": lambda *given: []}))


def _is_shipped(found: Any) -> bool:
    return str(found.__module__).startswith(("attacks.", "bench.data.", "bench.models.", "defenses."))


class _Server:
    """The process that forks, and our end of the socket to it."""

    def __init__(self, *chosen: tuple[str, str]) -> None:
        self._socket, there = socket.socketpair()
        others = {name: value for name, value in os.environ.items() if not name.startswith(AT_START)}
        environment = {**others, "PYTHONPATH": str(ROOT), **dict(chosen)}
        with there:
            self._process = subprocess.Popen(
                [sys.executable, __file__, str(there.fileno())],
                env=environment,
                cwd=ROOT,
                pass_fds=[there.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        atexit.register(self._end)

    def fork(self, job: dict[str, Any], descriptors: list[int]) -> int:
        """The process that does the job, a child of ours."""
        content = json.dumps(job).encode()
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        assert prctl(SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        try:
            self._socket.sendall(len(content).to_bytes(8, "little"))
            rights = array.array("i", descriptors)
            self._socket.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
            self._socket.sendall(content)
            answer = self._socket.recv(8)
        finally:
            prctl(SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert len(answer) == 8, "the process that forks has died"
        return int.from_bytes(answer, "little")

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


@cache
def _server(*chosen: tuple[str, str]) -> _Server:
    return _Server(*chosen)


# -------------------------------------------------------------------------------------------- in the process that forks


def _serve(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Fork for every job that is asked for, and end with who asks; in the forked process: its job and descriptors."""
    while size := channel.recv(8):
        _, ancillary, *_ = channel.recvmsg(1, socket.CMSG_SPACE(64 * array.array("i").itemsize))
        descriptors = array.array("i")
        for _, _, rights in ancillary:
            descriptors.frombytes(rights)
        content = b""
        while len(content) < int.from_bytes(size, "little"):
            content += channel.recv(65536)
        here, there = os.pipe()
        if (between := os.fork()) == 0:
            if (child := os.fork()) == 0:
                os.close(here)
                os.close(there)
                return json.loads(content), list(descriptors)
            os.write(there, child.to_bytes(8, "little"))
            os._exit(0)  # the child is an orphan now, and whose it becomes has asked for it
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        os.close(there)
        channel.sendall(os.read(here, 8))
        os.close(here)
    os._exit(0)


def _run(job: dict[str, Any], descriptors: list[int]) -> None:
    _become(job, descriptors, _path)
    runpy.run_module(job["module"], run_name="__main__", alter_sys=True)


def _become(job: dict[str, Any], descriptors: list[int], path: list[str]) -> None:
    """What an interpreter of its own would be that is started with this job."""
    if job["session"]:
        os.setsid()
    high = [os.dup2(fd, ABOVE_ALL + place) for place, fd in enumerate(descriptors)]
    os.closerange(3, ABOVE_ALL)
    for fd, number in zip(high, job["numbers"], strict=True):
        os.dup2(fd, number)
        os.close(fd)
    os.environ.clear()
    os.environ.update(job["env"])
    os.chdir(job["cwd"])
    first = [] if job["safe_path"] else [job["cwd"]]
    given = [place for place in job["env"].get("PYTHONPATH", "").split(os.pathsep) if place]
    sys.stdout, sys.stderr = (open(number, "w", closefd=False) for number in (1, 2))  # noqa: SIM115  what they were knows other files
    sys.path[:] = [*first, *given, *path]
    importlib.invalidate_caches()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    random.seed()
    util.spawnv_passfds = _spawn  # type: ignore[attr-defined]
    sys.argv[:] = ["", *job["arguments"]]


def _spawn(path: bytes, arguments: list[str], passed: list[int], spawn: Any = util.spawnv_passfds) -> int:  # type: ignore[attr-defined]
    """A server of worker processes is forked too: it would import the same again."""
    if not arguments[-1].startswith("from multiprocessing.forkserver import main"):
        process: int = spawn(path, arguments, passed)
        return process
    if (process := os.fork()) == 0:
        code = 1
        with contextlib.suppress(BaseException):
            low = 3
            for fd in sorted(passed):
                os.closerange(low, fd)
                low = fd + 1
            os.closerange(low, 4096)
            exec(arguments[-1], {})
            code = 0
        os._exit(code)
    return process


if __name__ == "__main__":
    _path = [place for place in sys.path if place not in (str(ROOT), str(Path(__file__).parent))]
    for _name in IMPORTED:
        importlib.import_module(_name)
    gc.collect()
    gc.freeze()
    _given = _serve(socket.socket(fileno=int(sys.argv[1])))
    fork_hosts(setattr, ForkedHere)
    _run(*_given)
