"""Cells to records: what is missing runs, on worker processes or in this one, and is written as soon as it is done."""

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass, field

from bench.cells import Outcome, Task, run_cell
from bench.data import load
from bench.errors import BadInputError
from bench.models import MODELS
from bench.names import unknown
from bench.records import Record, Store, protocol_hash, setting_hash
from bench.suite import Cell, Suite

Announce = Callable[[Task], None]


@dataclass
class Plan:
    """What a run has to do: the tasks that are missing, and how many records are there already."""

    tasks: list[Task]
    present: list[Record] = field(default_factory=list)

    @property
    def total(self) -> int:
        return len(self.tasks) + len(self.present)


def plan(suite: Suite, cells: list[Cell], store: Store, data_root: str | None, fresh: bool = False) -> Plan:
    """Sort the suite's (cell, seed) into those with a record under today's protocol and those without.

    A failed or diverged record counts as present: only `fresh` runs it again.
    """
    for model in {cell.federation.model for cell in cells} - set(MODELS):
        raise BadInputError(unknown("model", model, MODELS))
    digests = {name: load(name, data_root).digest for name in {cell.federation.dataset for cell in cells}}
    setting = setting_hash(suite, load(suite.federation.dataset, data_root).digest)
    found = Plan(tasks=[])
    long_first = sorted(cells, key=lambda cell: not cell.is_privacy)  # so that workers end together
    for seed in suite.seeds:
        for cell in long_first:
            record = (
                None
                if fresh
                else store.find(
                    cell, seed, protocol_hash(cell, digests[cell.federation.dataset], suite.ranking.recovered_psnr)
                )
            )
            if record is not None:
                found.present.append(record)
                continue
            found.tasks.append(
                Task(suite.name, setting, cell, seed, suite.threads, data_root, suite.ranking.recovered_psnr)
            )
    return found


def run(tasks: list[Task], store: Store, workers: int, announce: Announce = lambda task: None) -> Iterator[Record]:
    """Run the tasks and yield each record once it is written; the records are the same whatever `workers` is."""
    outcomes = _serial(tasks, announce) if min(workers, len(tasks)) <= 1 else _parallel(tasks, workers, announce)
    for outcome in outcomes:
        try:
            outcome.write(store.path(outcome.record.cell, outcome.record.seed).parent)
            store.write(outcome.record)
        except OSError as error:
            raise BadInputError(f"cannot write under {store.folder}: {error.strerror}") from None
        yield outcome.record


def _serial(tasks: list[Task], announce: Announce) -> Iterator[Outcome]:
    for task in tasks:
        announce(task)
        yield run_cell(task)


def _parallel(tasks: list[Task], workers: int, announce: Announce) -> Iterator[Outcome]:
    """A pool of processes forked from a server that has imported everything once; what is announced is what runs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.cells", "sklearn.datasets", "torchmetrics.functional.image"])
    waiting = iter(tasks)
    running: set[Future[Outcome]] = set()
    with ProcessPoolExecutor(min(workers, len(tasks)), context, initializer=_end_with_the_driver) as pool:
        try:
            while True:
                while len(running) < workers and (task := next(waiting, None)) is not None:
                    announce(task)
                    running.add(pool.submit(run_cell, task))
                if not running:
                    return
                done, running = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _end_with_the_driver() -> None:
    """End this worker as soon as the driver has ended; the fork server, its parent, waits for its workers."""
    driver = multiprocessing.parent_process()
    assert driver is not None

    def watch() -> None:
        driver.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def default_workers() -> int:
    """One for every core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
