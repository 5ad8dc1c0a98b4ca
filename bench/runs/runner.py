"""Cells to records: what is missing runs, here or on workers, and is written as soon as it is done.

Another run may work on the same folder: each cell is locked while it runs, and what the other has made is taken over.
"""

import os
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from bench import registry
from bench.base import locks
from bench.base.errors import BadInputError
from bench.data import load
from bench.plays.cell import Outcome, lost_outcome
from bench.plays.findings import Task
from bench.records import PUBLIC, Record, Store, World, protocol_hash, record_key, setting_hash
from bench.runs.preflight import check_settings
from bench.runs.workers import NO_LIMITS, Backend, Limits, WorkerLostError, backend
from bench.suite import Cell, Suite, kinds

Announce = Callable[[Task], None]

LOOK_SECONDS = 0.5
"""Between two looks at the cells that another run has taken, and at the slots that a backend has."""


@dataclass
class Plan:
    """What a run has to do: the tasks that are missing, and how many records are there already."""

    tasks: list[Task]
    present: list[Record] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.tasks) + len(self.present)


def plan(
    suite: Suite,
    cells: list[Cell],
    store: Store,
    data_root: str | None,
    fresh: bool = False,
    device: str = "cpu",
    world: World = PUBLIC,
) -> Plan:
    """Sort the suite's (cell, seed) into those with a record under today's protocol and those without.

    A failed or diverged record counts as present: only `fresh` runs it again. Raises `BadInputError` for a setting that
    a defense cannot work in, and for a record from a newer schema where one of these would be written.
    """
    for model in {cell.federation.model for cell in cells}:
        registry.get("model", model)
    digests = {name: load(name, data_root).digest for name in {cell.federation.dataset for cell in cells}}
    check_settings(suite.name, cells, data_root)
    setting = setting_hash(suite, load(suite.federation.dataset, data_root).digest)
    result = Plan(tasks=[])
    seeds = dict.fromkeys(seed for some in suite.seeds_by_kind.values() for seed in some)
    for seed in seeds:
        for cell in cells:
            if seed not in suite.seeds_for(cell):
                continue
            protocol = protocol_hash(cell, digests[cell.federation.dataset], suite.ranking.recovered_psnr, world)
            record = store.find(cell, seed, protocol)
            if record is not None and not fresh:
                result.present.append(record)
                continue
            result.tasks.append(
                Task(
                    suite.name,
                    setting,
                    cell,
                    seed,
                    suite.threads,
                    data_root,
                    suite.ranking.recovered_psnr,
                    device,
                    world,
                )
            )
    result.tasks = in_order(result.tasks)
    return result


def in_order(tasks: list[Task]) -> list[Task]:
    """Long cells first, so that workers end together; what shares a control side by side, for one that works alone."""
    first: dict[str, int] = {}
    for place, task in enumerate(tasks):
        first.setdefault(task.group, place)
    return sorted(tasks, key=lambda task: (kinds.of(task.cell).order, first[task.group]))


def run(
    tasks: list[Task],
    store: Store,
    workers: int,
    announce: Announce = lambda task: None,
    *,
    waits: Callable[[int], None] = lambda count: None,
    limits: Limits = NO_LIMITS,
    fresh: bool = False,
    place: Backend | None = None,
) -> Iterator[Record]:
    """Run the tasks and yield each record once it is written; the records are the same whatever `workers` is.

    A task is announced as it starts; one whose record another run has made since is not, and its record is yielded all
    the same, unless it was there from the beginning and `fresh` wants it anew. A cell whose worker dies runs once more.
    `waits` is told once how many cells others have when none is left to start. `place` is where cells run, by default
    `workers` processes under `limits`.
    """
    share = _Share(tasks, store, fresh)
    running: dict[Future[Outcome], Task] = {}
    lost: dict[str, list[str]] = {}  # why a task's workers were lost
    ended: list[str] = []  # groups of the tasks that left a worker free
    told = False
    with closing(backend(workers, limits, tasks) if place is None else place) as place, closing(share):
        with writing(store):
            _sweep(store)
        while True:
            while len(running) < place.slots and (task := share.take(ended, running.values())) is not None:
                announce(task)
                running[place.submit(task)] = task
            yield from share.taken_over()
            if not running and share.is_done:
                return
            if not running and not told:
                told = True
                waits(share.elsewhere)
            for future in _next_done(running):
                task = running.pop(future)
                outcome = _outcome(future, task, lost)
                if outcome is None:
                    running[place.submit(task)] = task
                    continue
                _check_data(outcome.record, task)
                with writing(store):
                    outcome.write(store.path(task.cell, task.seed).parent)
                    store.write(outcome.record)
                share.give_back(task)
                ended.append(task.group)
                yield outcome.record


def _next_done(running: dict[Future[Outcome], Task]) -> set[Future[Outcome]]:
    """The tasks that ended next; none where it is time to look at what others have done, and at the slots."""
    if not running:
        time.sleep(LOOK_SECONDS)
        return set()
    return wait(running, LOOK_SECONDS, FIRST_COMPLETED).done


def _outcome(future: Future[Outcome], task: Task, lost: dict[str, list[str]]) -> Outcome | None:
    """The outcome of a task that ended; None where its worker was lost for the first time."""
    try:
        return future.result()
    except WorkerLostError as error:
        reasons = lost.setdefault(_name(task), [])
        reasons.append(str(error))
        if error.again and len(reasons) == 1:
            return None
        same = len(reasons) == 2 and reasons[0] == reasons[1]
        return lost_outcome(task, f"{reasons[0]}, twice" if same else "; then ".join(reasons))


def _check_data(record: Record, task: Task) -> None:
    """Raise `BadInputError` where a worker made other data than this process of a data set of somebody's own."""
    name = task.cell.federation.dataset
    if (ours := load(name, task.data_root).digest) != record.data_digest:
        text = f"{record.data_digest} in a worker, {ours} here: give its random draws a fixed seed"
        raise BadInputError(f"data set {name!r} is another one in each process (digest {text})")


@contextmanager
def writing(store: Store) -> Iterator[None]:
    """What the file system refuses, a full disk or a folder that is not ours, in one line."""
    try:
        yield
    except OSError as error:
        raise BadInputError(f"cannot write under {store.folder}: {error.strerror}") from None


def _sweep(store: Store) -> None:
    """Remove what runs that were killed have left in the folder, so that it can be published as it is."""
    for path in store.lock_files():
        if (lock := locks.take(path)) is not None:
            store.clear_leftovers(path)
            lock.release()


class _Share:
    """Which of the tasks are for this run to do, and the locks of those that it has begun."""

    def __init__(self, tasks: list[Task], store: Store, fresh: bool) -> None:
        self._store = store
        self._waiting, self._elsewhere = list(tasks), list[Task]()
        self._held: dict[str, locks.Lock] = {}
        self._found: list[Record] = []
        self._next_look = 0.0
        self._old = {_name(task): self._stamp(task) for task in tasks} if fresh else {}

    def take(self, ended: list[str], running: Collection[Task]) -> Task | None:
        """The next task that nobody has, locked for this run; None where there is none at the moment.

        `ended` are the groups of tasks that left workers free, each of which is used up by the task that follows it.
        """
        if not self._waiting and self._elsewhere and time.monotonic() >= self._next_look:
            self._waiting, self._elsewhere = self._elsewhere, []
            self._next_look = time.monotonic() + LOOK_SECONDS
        last = ended.pop() if ended else ""
        busy = {*ended, *(task.group for task in running)}
        while self._waiting:
            task = self._waiting.pop(next_place(self._waiting, last, busy))
            with writing(self._store):
                lock = locks.take(self._store.lock_path(task.cell, task.seed))
            if lock is None:
                self._elsewhere.append(task)
                continue
            self._held[_name(task)] = lock
            if (record := self._made_by_another(task)) is None:
                with writing(self._store):
                    self._store.clear_leftovers(lock.path)
                return task
            self.give_back(task)
            self._found.append(record)
        return None

    def taken_over(self) -> Iterator[Record]:
        """The records that other runs have made of this one's tasks, each once."""
        while self._found:
            yield self._found.pop(0)

    @property
    def elsewhere(self) -> int:
        """How many of the tasks other runs have at the moment."""
        return len(self._elsewhere)

    @property
    def is_done(self) -> bool:
        return not (self._waiting or self._elsewhere or self._found)

    def give_back(self, task: Task) -> None:
        self._held.pop(_name(task)).release()

    def close(self) -> None:
        while self._held:
            self._held.popitem()[1].release()

    def _made_by_another(self, task: Task) -> Record | None:
        dataset = load(task.cell.federation.dataset, task.data_root)
        protocol = protocol_hash(task.cell, dataset.digest, task.recovered_psnr, task.world)
        record = self._store.find(task.cell, task.seed, protocol)
        return None if self._old.get(_name(task), "") == self._stamp(task) else record

    def _stamp(self, task: Task) -> tuple[int, int] | None:
        """What changes whenever the record is written; None without one."""
        try:
            result = self._store.path(task.cell, task.seed).stat()
        except OSError:
            return None
        return result.st_ino, result.st_mtime_ns


def next_place(waiting: list[Task], last: str, busy: set[str]) -> int:
    """Of the task to start: of the group that a free worker has just left, else of one that no other worker is at."""
    akin = (place for place, task in enumerate(waiting) if task.group and task.group == last)
    apart = (place for place, task in enumerate(waiting) if not task.group or task.group not in busy)
    return next(akin, next(apart, 0))


def _name(task: Task) -> str:
    return record_key(task.cell, task.seed)


def default_workers() -> int:
    """One for every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
