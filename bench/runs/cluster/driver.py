"""Cells to a Ray cluster and outcomes back, in the shape of the local workers: a thread and a process for each.

The processes are actors, and not tasks: a cell's time is counted from when its process is up, a process that oversteps
a limit can be ended, and code, data and inversions are loaded once for many cells.
"""

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from bench import registry
from bench.base import arithmetic
from bench.base.errors import BadInputError
from bench.data import Dataset, in_a_root, load
from bench.plays.cell import Outcome
from bench.plays.findings import Task
from bench.runs.cluster.node import Player, code_version, pack
from bench.runs.workers import STARTS, Limits, WorkerLostError

LOOK_SECONDS = 1.0
"""Between two looks at the cluster's free resources, and at whether another process is free for a cell that waits."""

IDLE_SECONDS = 10.0
"""After which a process without a cell gives its resources back."""

ANSWER_SECONDS = 60.0
"""In which a process that is up must answer a question; its node may be busy, or gone."""

DEAD = "The actor is dead because "
"""How Ray begins the sentence that says why."""

MOST = 1000
"""Cells at once: each has a thread and an open file here."""


class Needs:
    """What a cell takes of a node, in Ray's names and units."""

    def __init__(self, cpus: float, gpus: float, mebibytes: int | None) -> None:
        memory = None if mebibytes is None else mebibytes * 2**20
        self.options = {"num_cpus": cpus, "num_gpus": gpus, "memory": memory}
        self._needed = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus), ("memory", memory)) if amount}

    def fit(self, resources: dict[str, float]) -> int:
        """How many cells these resources hold."""
        return min(int(resources.get(name, 0.0) / amount + 1e-6) for name, amount in self._needed.items())

    def of(self, resources: dict[str, float]) -> str:
        """Those of the resources that a cell needs, in words."""
        return _words({name: resources.get(name, 0.0) for name in self._needed})

    def __str__(self) -> str:
        return _words(self._needed)


def _words(resources: dict[str, float]) -> str:
    amounts = {name: amount / 2**20 if name == "memory" else amount for name, amount in resources.items()}
    return ", ".join(f"{amount:g} {'MiB' if name == 'memory' else name}" for name, amount in amounts.items())


class Cluster:
    """A backend (see `bench.runs.workers`): as many cells at once as the cluster's free resources hold, at least one.

    Raises what is the user's to mend as `BadInputError` from a cell's future: a node with another version of the code
    or other data, or processes that cannot start.
    """

    def __init__(self, ray: Any, needs: Needs, limits: Limits, most: int | None, ours: bool) -> None:
        self._ray, self._needs, self._limits, self._ours = ray, needs, limits, ours
        self._version = code_version()  # now: files may change while the run goes on
        self._most = min(most or MOST, MOST)
        self._threads = ThreadPoolExecutor(self._most, "cells")
        environment = {"env_vars": arithmetic.variables()}  # Ray loads numpy before it loads us
        self._actor = ray.remote(Player).options(max_restarts=0, runtime_env=environment, **needs.options)
        self._workers: set[Worker] = set()
        self._idle: list[Worker] = []  # the one that was busy last stands last
        self._sent: dict[str, Any] = {}  # data sets in the object store
        self._lock = threading.Lock()  # of these three
        self._closed = False
        self._slots, self._next_look = 1, 0.0

    def check(self) -> None:
        """Raise `BadInputError` where a cell takes more than any node has: it would wait for ever."""
        nodes = self._nodes()
        if not any(map(self._needs.fit, nodes)):
            have = "; ".join(sorted({self._needs.of(node) for node in nodes})) or "none"
            raise BadInputError(
                f"a cell takes {self._needs} of one node, but the cluster's nodes have {have}: "
                "see [resources] of the suite, --set resources.cpus=1 and --cell-memory"
            )

    @property
    def slots(self) -> int:
        if time.monotonic() >= self._next_look:
            self._end_idle()
            whole = sum(map(self._needs.fit, self._nodes()))
            free = self._needs.fit(self._ray.available_resources())
            self._slots = max(1, min(whole, len(self._workers) + free, self._most))
            self._next_look = time.monotonic() + LOOK_SECONDS
        return self._slots

    def submit(self, task: Task) -> Future[Outcome]:
        return self._threads.submit(self._play, task)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.end()
        self._threads.shutdown(cancel_futures=True)
        if self._ours:
            self._ray.shutdown()

    def _nodes(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _play(self, task: Task) -> Outcome:
        worker = self._ready()
        try:
            self._prepare(worker, load(task.cell.federation.dataset, task.data_root))
            outcome = worker.play(task, self._limits)
        except BaseException:
            self._end(worker)
            raise
        with self._lock:
            worker.idle_since = time.monotonic()
            self._idle.append(worker)
        return outcome

    def _ready(self) -> "Worker":
        """A process without a cell, or a new one once the cluster has room for it."""
        reason = ""
        for _ in range(STARTS):
            if (worker := self._take_idle()) is not None:
                return worker
            worker = self._start()
            try:
                while not worker.is_up(LOOK_SECONDS):
                    if (other := self._take_idle()) is not None:  # it holds the resources that the new one waits for
                        self._end(worker)
                        return other
            except WorkerLostError as error:
                self._end(worker)
                reason = str(error)
                continue
            except BaseException:
                self._end(worker)
                raise
            return worker
        where = "is fedsiege installed on all nodes?"
        raise BadInputError(f"processes cannot start on the cluster, {STARTS} times, the last: {reason}; {where}")

    def _start(self) -> "Worker":
        with self._lock:
            self._check_open()
            worker = Worker(self._ray, self._actor.remote(), self._version)
            self._workers.add(worker)
        return worker

    def _take_idle(self) -> "Worker | None":
        while True:
            with self._lock:
                self._check_open()
                if not self._idle:
                    return None
                worker = self._idle.pop()
            try:
                worker.ask("where")
            except WorkerLostError:
                self._end(worker)
                continue
            return worker

    def _check_open(self) -> None:
        if self._closed:
            raise WorkerLostError("the run is over", again=False)

    def _end_idle(self) -> None:
        with self._lock:
            ended = [one for one in self._idle if time.monotonic() - one.idle_since > IDLE_SECONDS]
            self._idle = [one for one in self._idle if one not in ended]
        for worker in ended:
            self._end(worker)

    def _end(self, worker: "Worker") -> None:
        with self._lock:
            self._workers.discard(worker)
            if self._closed:  # whoever closes ends all that are left
                return
        worker.end()

    def _prepare(self, worker: "Worker", dataset: Dataset) -> None:
        """See that the process finds the data set that this run is about, its node's own or ours."""
        if dataset.name in worker.datasets:
            return
        theirs = worker.ask("digest", dataset.name)
        if theirs is None:
            theirs = worker.ask("adopt", self._send(dataset), patience=None)
        if theirs != dataset.digest:
            where = f"{worker.node}: its FEDSIEGE_DATA" if in_a_root(dataset.name) else worker.node
            raise BadInputError(
                f"node {where} has another {dataset.name} ({theirs}) than this machine ({dataset.digest})"
            )
        worker.datasets.add(dataset.name)

    def _send(self, dataset: Dataset) -> Any:
        """The data set in the object store; each node fetches it once, when the first of its processes asks."""
        with self._lock:
            if dataset.name not in self._sent:
                self._sent[dataset.name] = self._ray.put(pack(dataset))
            return self._sent[dataset.name]


class Worker:
    """The driver's end of a process on the cluster."""

    def __init__(self, ray: Any, actor: Any, version: str) -> None:
        self._ray, self._actor, self._version = ray, actor, version
        self._first = actor.where.remote()
        self.node = ""
        self.datasets: set[str] = set()
        self.idle_since = 0.0

    def is_up(self, seconds: float) -> bool:
        """Whether it has come up within these seconds, with the code that runs here. Raises as `ask` does."""
        if not self._ray.wait([self._first], timeout=seconds)[0]:
            return False
        self.node = self._get(self._first, None)
        if (theirs := self.ask("version")) != self._version:
            ours = f"this machine ({self._version}); install the same on all"
            raise BadInputError(f"node {self.node} runs another fedsiege ({theirs}) than {ours}")
        self.ask("take", registry.loaded_files())
        return True

    def ask(self, question: str, *arguments: Any, patience: float | None = ANSWER_SECONDS) -> Any:
        """What it answers. Raises `WorkerLostError` where it is gone, `BadInputError` where that is the answer."""
        try:
            answer = self._get(getattr(self._actor, question).remote(*arguments), patience)
        except TimeoutError:
            raise WorkerLostError(f"its worker process on node {self.node} does not answer") from None
        if isinstance(answer, BadInputError):
            raise BadInputError(f"node {self.node}: {answer}")
        return answer

    def play(self, task: Task, limits: Limits) -> Outcome:
        """The outcome of the cell. `WorkerLostError` where the process or its node dies, or it oversteps a limit."""
        try:
            answer = self._get(self._actor.play.remote(task, limits), limits.seconds)
        except TimeoutError:
            raise limits.out_of_time() from None
        if isinstance(answer, BadInputError | WorkerLostError):
            raise answer
        outcome: Outcome = answer
        return outcome

    def end(self) -> None:
        """Kill it, wherever it is in its life; its resources are free again."""
        self._ray.kill(self._actor)

    def _get(self, reference: Any, patience: float | None) -> Any:
        try:
            return self._ray.get(reference, timeout=patience)
        except TimeoutError:
            raise
        except self._ray.exceptions.RayError as error:
            raise WorkerLostError(self._reason(error)) from None

    def _reason(self, error: Exception) -> str:
        """Of Ray's page about a process that is gone the sentence that says why, and where."""
        told = [line for line in str(error).splitlines() if line[:1].strip()]  # what is indented is places and numbers
        why = next((line for line in told if line.startswith(DEAD)), told[-1]).removeprefix(DEAD)
        return f"{f'node {self.node}: ' if self.node else ''}{why.split('. ')[0].rstrip('.')}"
