"""Where cells run: in this process, or in worker processes that may die without taking the run with them.

A backend takes tasks and gives a future for each. A process pool of the standard library breaks as a whole when one
process dies; here each thread of a pool keeps a process of its own, and replaces it when it is gone.
"""

import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

from bench import registry
from bench.base import systems
from bench.base.errors import BadInputError
from bench.base.ownfile import OwnFile
from bench.plays.cell import Outcome, run_cell
from bench.plays.findings import Task
from bench.suite import kinds

PRELOAD = ("bench.plays.cell", "sklearn.datasets")
"""What the fork server imports once for all workers."""

LOOK_SECONDS = 0.05
"""Between two looks at the memory of a worker that has a limit."""

SETTLE_SECONDS = (0.1, 0.3, 1.0, 3.0)
"""Waited before another start, after a process that died before it was ready, or whose fork server had.

A killed fork server answers nobody for as long as the system takes it down, and only then another one comes up.
"""

STARTS = 1 + len(SETTLE_SECONDS)
"""Processes that may die before they are ready, one after the other, until the run gives up."""


@dataclass(frozen=True)
class Limits:
    """What one cell may take: seconds, and MiB (2^20 bytes) of its worker's resident memory.

    Resident memory rather than address space (RLIMIT_AS): torch maps far more than it uses, and an allocation that is
    refused in the middle of its libraries may abort, or hang, instead of raising.
    """

    seconds: float | None = None
    mebibytes: int | None = None

    def out_of_time(self) -> "WorkerLostError":
        """What becomes of a cell that runs longer."""
        return WorkerLostError(f"it ran longer than --cell-timeout {self.seconds:g} seconds", again=False)

    def out_of_memory(self, process: int | None) -> "WorkerLostError | None":
        """What becomes of the cell of a process that holds more; None where it does not."""
        if self.mebibytes is None or (held := _resident(process)) <= self.mebibytes * 2**20:
            return None
        over = f"more than --cell-memory {self.mebibytes}"
        return WorkerLostError(f"its worker process held {held / 2**20:.0f} MiB, {over}")

    def check(self) -> None:
        """Raise `BadInputError` on a machine that does not tell the memory of a process that is to be limited."""
        if self.mebibytes is not None and not systems.tells_memory():
            raise BadInputError(f"--cell-memory {self.mebibytes} needs /proc, where Linux tells a process's memory")


NO_LIMITS = Limits()


class WorkerLostError(Exception):
    """The worker of a cell is gone, with the reason in words; `again` says whether another may end otherwise."""

    def __init__(self, reason: str, again: bool = True) -> None:
        super().__init__(reason)
        self.again = again


class Backend(Protocol):
    """Where cells run. Limits are the backend's own; whether a lost cell runs again is the runner's to say."""

    @property
    def slots(self) -> int:
        """How many tasks may be under way; asked before each one is submitted, so it may change."""
        ...

    def submit(self, task: Task) -> Future[Outcome]:
        """Start the task. Its future raises `WorkerLostError` where whatever played it died or overran a limit."""
        ...

    def close(self) -> None:
        """Stop whatever still runs, and give everything back."""
        ...


def backend(workers: int, limits: Limits, tasks: Iterable[Task] = ()) -> Backend:
    """The one for a number of workers on this machine; one worker alone, without limits, is this process."""
    if workers <= 1 and limits == NO_LIMITS:
        return InThisProcess()
    played = {kinds.of(task.cell) for task in tasks}
    preload = sorted(module for kind in played for module in (kind.play.partition(":")[0], *kind.preload))
    return Processes(workers, limits, preload=(*PRELOAD, *preload))


class InThisProcess:
    """One cell at a time, played while it is submitted."""

    slots = 1

    def submit(self, task: Task) -> Future[Outcome]:
        done: Future[Outcome] = Future()
        done.set_result(run_cell(task))
        return done

    def close(self) -> None:
        """Nothing is left to stop."""


Play = Callable[[Any], Any]
"""What a worker process does with a task; it is sent there by its name in its module."""


class Processes:
    """Worker processes, forked from a server that has imported everything once; they play cells, or other tasks."""

    def __init__(self, workers: int, limits: Limits, play: Play = run_cell, preload: Sequence[str] = PRELOAD) -> None:
        limits.check()
        self.slots = workers
        self._limits = limits
        self._playing = play
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(list(preload))
        resource_tracker.ensure_running()  # it would end the deafness of the thread that starts it
        self._threads = ThreadPoolExecutor(workers, "cells", initializer=_deaf)
        self._workers: list[Worker] = []
        self._idle: list[Worker] = []
        self._lock = threading.Lock()  # of both lists; processes are started under it, one at a time
        self._closed = False

    def submit(self, task: Any) -> Future[Any]:
        return self._threads.submit(self._play, task)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for worker in self._workers:
                worker.kill()
        self._threads.shutdown(cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _play(self, task: Any) -> Any:
        worker = self._ready(getattr(task, "group", ""))  # cells may have one, other tasks have none
        try:
            outcome = worker.play(task, self._limits)
        except (EOFError, OSError):
            raise WorkerLostError(f"its worker process {self._end(worker, dead=True)}") from None
        except BaseException:
            self._end(worker)
            raise
        with self._lock:
            self._idle.append(worker)
        return outcome

    def _ready(self, group: str) -> "Worker":
        """A worker without a task: the one that played the group last, else another one, or a new one."""
        ended = ""
        for pause in (0.0, *SETTLE_SECONDS):
            time.sleep(pause)
            with self._lock:
                if self._closed:
                    raise WorkerLostError("the run is over", again=False)
                while self._idle:
                    akin = (place for place, worker in enumerate(self._idle) if worker.group == group)
                    if (worker := self._idle.pop(next(akin, -1))).is_idle():
                        worker.group = group
                        return worker
                    self._workers.remove(worker)
                    worker.end(dead=True)
                try:
                    worker = Worker(self._context, self._playing)
                except (EOFError, OSError):  # the fork server has just died; a later start brings up another
                    ended = "lost its fork server"
                    continue
                self._workers.append(worker)
            if worker.is_ready():
                worker.group = group
                return worker
            ended = self._end(worker, dead=True)
        raise BadInputError(f"worker processes cannot start: one {ended}, {STARTS} times; try --workers 1")

    def _end(self, worker: "Worker", dead: bool = False) -> str:
        """How it ended; under the lock, because a process's exit code can be read once, and starting one reads all."""
        with self._lock:
            if worker in self._workers:
                self._workers.remove(worker)
            return worker.end(dead)


class Worker:
    """One process, and the driver's end of the pipe to it.

    Whether it lives is seen at the pipe alone: what `multiprocessing` says goes through the fork server, which may be
    dead where its children are not.
    """

    def __init__(self, context: ForkServerContext, play: Play) -> None:
        self._pipe, there = context.Pipe()
        self._process: BaseProcess = context.Process(target=_serve, args=(there, play, registry.loaded_files()))
        self._process.start()
        self.group = ""  # of the task that it played last
        there.close()

    def is_ready(self) -> bool:
        """Whether it has come up; False where it died on the way. `BadInputError` where it cannot load what we have."""
        with contextlib.suppress(EOFError, OSError):
            if isinstance(answer := self._pipe.recv(), BadInputError):
                raise answer
            return bool(answer)
        return False

    def is_idle(self) -> bool:
        """Whether it still waits for a task: its end of the pipe is open, and silent."""
        return not self._pipe.poll()

    def kill(self) -> None:
        """Nothing that another thread may wait for is closed."""
        assert self._process.pid is not None
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGKILL)

    def end(self, dead: bool = False) -> str:
        """Kill it unless it is known to be dead, and forget it; how it ended, in words."""
        if not dead:
            self.kill()
        self._process.join()
        self._pipe.close()
        code = self._process.exitcode or 0
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"

    def play(self, task: Any, limits: Limits) -> Any:
        """Play the task there. `EOFError` or `OSError` where the process dies, `WorkerLostError` where it oversteps."""
        started = time.monotonic()
        self._pipe.send(task)
        while not self._pipe.poll(self._patience(limits, started)):
            self._check(limits, started)
        answer = self._pipe.recv()
        if isinstance(answer, BadInputError):
            raise answer
        return answer

    def _patience(self, limits: Limits, started: float) -> float | None:
        if limits.mebibytes is not None:
            return LOOK_SECONDS
        return None if limits.seconds is None else max(0.0, started + limits.seconds - time.monotonic())

    def _check(self, limits: Limits, started: float) -> None:
        if limits.seconds is not None and time.monotonic() - started >= limits.seconds:
            raise limits.out_of_time()
        if (over := limits.out_of_memory(self._process.pid)) is not None:
            raise over


def _statm(process: int | None) -> Path:
    return Path(f"/proc/{process}/statm")


def _resident(process: int | None) -> int:
    """Bytes of memory that a process holds; 0 where it has ended."""
    try:
        return int(_statm(process).read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _deaf() -> None:
    """Ctrl-C reaches the whole group, and is the driver's to act on; what this thread starts inherits the mask."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


def _serve(pipe: Connection, play: Play, files: Iterable[OwnFile]) -> None:
    """A worker's life: the driver's own files, then one task after the other, until the driver hangs up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a fork server that others have started is not deaf
    _end_with_the_driver()
    with contextlib.suppress(EOFError, BrokenPipeError, ConnectionResetError):  # reset: what was sent was never read
        try:
            for file in files:
                registry.take(file)
        except BadInputError as error:
            pipe.send(error)
            return
        pipe.send(True)
        while True:
            task = pipe.recv()
            try:
                answer = play(task)
            except BadInputError as error:
                answer = error
            pipe.send(answer)


def _end_with_the_driver() -> None:
    """End this worker as soon as the driver has ended; the fork server, its parent, waits for its workers."""
    driver = multiprocessing.parent_process()
    assert driver is not None

    def watch() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
