"""The faults: each strikes one start of a run, or two, and says what it did and what then was not as it should be."""

import json
import random
import re
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.soak.runs import Ended, Place, Run, strike

WORKERS = ("--workers", "2")
KILLED = -int(signal.SIGKILL)
STOPPED = 130
WORKER = "worker killed"


@dataclass
class Blow:
    """What one fault did: how often it struck, by kind, and what was wrong afterwards."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    excuse: re.Pattern[str] | None = None
    """Errors that failed records may rightly show: the fault was meant to make cells fail."""
    damaged: dict[str, bytes] = field(default_factory=dict)
    """Records that the fault has overwritten, and with what."""

    def expect(self, condition: bool, told: str) -> None:
        if not condition:
            self.wrong.append(told)

    def expect_end(self, ended: Ended, *codes: int) -> None:
        """The exit code is one of these, nothing hangs, nobody is left, and there is no traceback."""
        said = ended.err.strip()[-600:]
        self.expect(not ended.hung, f"a run did not end: {said!r}")
        self.expect(ended.code in codes, f"a run ended with exit code {ended.code}, not one of {codes}: {said!r}")
        self.expect(not ended.orphans, f"{ended.orphans} processes of a run outlived it")
        self.expect("Traceback" not in ended.err, f"a traceback: {said!r}")


Fault = Callable[[Place, random.Random], Blow]


def _somewhen(run: Run, source: random.Random) -> None:
    """Wait for a moment to strike: from the start on, as soon as a cell is taken, or once some are recorded."""
    kind, there = source.random(), len(run.place.records())
    if kind < 0.2:
        run.wait_for(lambda: False, source.uniform(0.1, 8.0))
    elif kind < 0.5 and run.at_work():
        run.wait_for(lambda: False, source.uniform(0.0, 2.0))
    else:
        run.wait_for(lambda: len(run.place.records()) > there + source.randrange(6), 600.0)


def kill_driver(place: Place, source: random.Random) -> Blow:
    """`kill -9` of the driver; then often also what a power failure leaves of a write."""
    blow, run = Blow(), Run(place, *WORKERS)
    _somewhen(run, source)
    struck = run.kill()
    blow.counts["driver killed"] += struck
    blow.expect_end(run.ended(), *((KILLED,) if struck else (0, 1)))
    if source.random() < 0.7:
        _truncated_temporaries(place, source, blow)
    return blow


def _truncated_temporaries(place: Place, source: random.Random, blow: Blow) -> None:
    """Beside the locks that the dead run left: the beginnings of files that it was about to rename."""
    whole = [path.read_bytes() for path in place.records().values()] or [b"{}"]
    for lock in place.locks():
        for ending in ("json", "png"):
            content = source.choice(whole)
            path = lock.with_name(f"{lock.stem}.{ending}.{source.randrange(16**8):08x}")
            path.write_bytes(content[: source.randint(0, len(content))])
            blow.counts["truncated temporary file planted"] += 1


def interrupt(place: Place, source: random.Random) -> Blow:
    """Ctrl-C while cells are played."""
    blow, run = Blow(), Run(place, *WORKERS)
    if run.at_work():
        run.wait_for(lambda: False, source.uniform(0.0, 2.0))
    struck = run.interrupt()
    ended = run.ended()
    blow.counts["Ctrl-C"] += struck and ended.code == STOPPED
    blow.expect_end(ended, 0, 1, STOPPED)
    blow.expect(ended.code != STOPPED or "stopped; what was finished is recorded" in ended.err, "Ctrl-C is not told")
    return blow


def kill_workers(place: Place, source: random.Random) -> Blow:
    """`kill -9` of workers, one after the other, until the run ends by itself."""
    return _kill_children(place, source, WORKER, lambda run: source.choice(run.workers() or [0]) or None)


def kill_server(place: Place, source: random.Random) -> Blow:
    """`kill -9` of the fork server, and of a worker after it, which must then be replaced."""

    def victim(run: Run) -> int | None:
        return source.choice([*run.workers(), run.server() or 0]) or None

    return _kill_children(place, source, "fork server or worker killed", victim)


def _kill_children(place: Place, source: random.Random, kind: str, victim: Callable[[Run], int | None]) -> Blow:
    blow, run = Blow(), Run(place, *WORKERS)
    blow.excuse = re.compile(r"its worker process (was killed by SIGKILL|ended with exit code \d+)(, twice|; then .*)")
    if run.at_work() and run.wait_for(lambda: bool(run.workers()) or kind != WORKER, 600.0):
        for _ in range(source.randint(1, 6)):
            run.wait_for(lambda: False, source.uniform(0.05, 1.0))
            blow.counts[kind] += not run.is_over and strike(victim(run))
    ended = run.ended()
    given_up = ended.err.startswith("fedsiege: worker processes cannot start")  # three in a row, all killed at birth
    blow.expect_end(ended, 0, 1, *((2,) if given_up else ()))
    return blow


def fill_disk(place: Place, source: random.Random) -> Blow:
    """The system refuses to let any file grow past a limit that some records exceed."""
    sizes = [path.stat().st_size for path in place.records().values()] or [2000, 3000]
    blow = Blow()
    ended = Run(place, *WORKERS, file_size=source.randint(min(sizes) - 50, max(sizes))).ended()
    lines = ended.err.strip().splitlines()
    refused = ended.code == 2 and len(lines) == 1 and "cannot write" in ended.err and "File too large" in ended.err
    blow.counts["full disk"] += refused
    blow.expect_end(ended, 0, 1, 2)
    blow.expect(ended.code != 2 or refused, f"a full disk is told as {ended.err!r}")
    return blow


def run_twice(place: Place, source: random.Random) -> Blow:
    """Two runs at once; sometimes one of them is killed."""
    blow, before = Blow(), set(place.records())
    one, other = Run(place, *WORKERS), Run(place, *WORKERS)
    blow.counts["two runs at once"] += 1
    struck = False
    if source.random() < 0.5:
        _somewhen(one, source)
        struck = one.kill()
        blow.counts["one of two runs killed"] += struck
    ends = one.ended(), other.ended()
    blow.expect_end(ends[0], *((KILLED,) if struck else (0, 1)))
    blow.expect_end(ends[1], 0, 1)
    if not struck and all(ended.code in (0, 1) for ended in ends):
        ran = sum(json.loads(ended.out)["ran"] for ended in ends)
        new = sum(name.endswith(".json") for name in set(place.records()) - before)
        blow.expect(ran == new, f"two runs made {new} new records in {ran} cells")
    return blow


def time_out(place: Place, source: random.Random) -> Blow:
    """`--cell-timeout` so short that some cells exceed it."""
    seconds = round(source.choice([0.02, 0.05, 0.1, 0.2, 0.5]), 3)
    blow = Blow(excuse=re.compile(rf"it ran longer than --cell-timeout {seconds:g} seconds"))
    ended = Run(place, *WORKERS, "--cell-timeout", str(seconds)).ended()
    blow.counts["run under --cell-timeout"] += 1
    blow.expect_end(ended, 0, 1)
    return blow


def damage_record(place: Place, source: random.Random) -> Blow:
    """A finished record cut short: the next run keeps it under another name, and makes the record anew."""
    blow = Blow()
    records = {name: path for name, path in place.records().items() if name.endswith(".json")}
    if records:
        name, path = source.choice(list(records.items()))
        content = path.read_bytes()
        blow.damaged[name] = content[: source.randint(0, max(0, len(content) - 3))]
        path.write_bytes(blow.damaged[name])
        blow.counts["record cut short"] += 1
    return blow


FAULTS: dict[Fault, int] = {
    kill_driver: 5,
    kill_workers: 4,
    kill_server: 2,
    interrupt: 3,
    fill_disk: 2,
    run_twice: 2,
    time_out: 1,
    damage_record: 2,
}
"""With how often each is drawn."""
