"""What a round costs as clients grow: processor seconds, memory and disk of DPBFL, RSA and FedAvg on MNIST.

    python tests/performance/scale.py --clients 1000 10000 100000
    python tests/performance/scale.py --clients 1000000 --defenses dpbfl --attacks gaussian --rounds 1

Softmax regression, 60 samples a client, drawn with replacement where the data set has fewer, one local step on 32 of
them, b = 0.3, one thread. Each row is played in a process of its own: its first round fills what clients keep, and the
cheapest of the others is shown beside it. Memory is what the process held at most, without pages of a file that the
system can take back; disk is what the kept models take there.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

SAMPLES, BATCH, BYZANTINE = 60, 32, 0.3
GIB = 2**30
STATUS = Path("/proc/self/status")


@dataclass(frozen=True)
class Cost:
    """One row: seconds are the processor's, but for `wall`; sizes are in bytes."""

    defense: str
    attack: str
    clients: int
    first: float
    later: float | None
    wall: float
    before: int  # what the process held before the first round
    peak: int
    disk: int

    @property
    def microseconds(self) -> float:
        """Of the cheapest round, a client."""
        return 1e6 * (self.first if self.later is None else self.later) / self.clients


def held(status: str) -> int:
    """Bytes of a process's own memory by the text of its `/proc/.../status`: files that it maps are not counted."""
    lines = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return 1024 * sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssShmem") if name in lines)


@contextmanager
def watched(read: Callable[[], int], every: float = 0.1) -> Iterator[list[int]]:
    """In here a thread reads again and again; the list's one entry is the highest number so far."""
    highest, done = [read()], threading.Event()

    def watch() -> None:
        while not done.wait(every):
            highest[0] = max(highest[0], read())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()
        highest[0] = max(highest[0], read())


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def play(defense: str, attack: str, clients: int, rounds: int) -> Cost:
    """Play the rounds in this process."""
    import torch

    from bench import registry
    from bench.base.memory import keep_freed_memory
    from bench.data import load
    from bench.federation.engine import Federation
    from bench.federation.settings import FederationSettings

    torch.set_num_threads(1)
    keep_freed_memory()
    settings = FederationSettings(
        dataset="mnist",
        clients=clients,
        samples_per_client=SAMPLES,
        rounds=rounds,
        local_steps=1,
        batch_size=BATCH,
        lr=0.1,
        assumed_byzantine=BYZANTINE,
    )
    attackers = registry.get("attack", attack)()
    found = Federation(settings, registry.get("defense", defense)(), load("mnist"), 0, attackers, BYZANTINE)
    before, seconds, start = held(STATUS.read_text()), [], time.perf_counter()
    with watched(lambda: held(STATUS.read_text())) as highest:
        for _ in range(rounds):
            started = processor_seconds()
            found.advance()
            seconds.append(processor_seconds() - started)
    wall = (time.perf_counter() - start) / rounds
    later = min(seconds[1:]) if rounds > 1 else None
    return Cost(defense, attack, clients, seconds[0], later, wall, before, highest[0], on_disk(found))


def on_disk(federation: object) -> int:
    """Bytes that what the clients keep takes in a file."""
    kept = getattr(federation, "_placed", None)
    return getattr(kept, "bytes_on_disk", 0)


def in_a_process(defense: str, attack: str, clients: int, rounds: int) -> Cost:
    """The same in a process of its own, whose memory is its own."""
    asked = ["--one", defense, attack, str(clients), str(rounds)]
    done = subprocess.run([sys.executable, __file__, *asked], stdout=subprocess.PIPE, text=True, check=True)
    return Cost(**json.loads(done.stdout.splitlines()[-1]))


HEAD = (
    "| defense | attack | clients | first round, s | later round, s | a client, us | wall clock, s | held before, GiB "
    "| held at most, GiB | on disk, GiB |\n|:--|:--|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def row(cost: Cost) -> str:
    """A line of the table."""
    later = "" if cost.later is None else f"{cost.later:.3g}"
    sizes = " | ".join(f"{size / GIB:.2g}" for size in (cost.before, cost.peak, cost.disk))
    return (
        f"| `{cost.defense}` | `{cost.attack}` | {cost.clients:,} | {cost.first:.3g} | {later} "
        f"| {cost.microseconds:.0f} | {cost.wall:.3g} | {sizes} |"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--clients", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--defenses", nargs="+", default=["dpbfl"])
    parser.add_argument("--attacks", nargs="+", default=["gaussian", "sign_flip"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--one", nargs=4, metavar=("DEFENSE", "ATTACK", "CLIENTS", "ROUNDS"), help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.one:
        defense, attack, clients, rounds = given.one
        print(json.dumps(asdict(play(defense, attack, int(clients), int(rounds)))))
        return
    print(HEAD, flush=True)
    for defense in given.defenses:
        for attack in given.attacks:
            for clients in given.clients:
                print(row(in_a_process(defense, attack, clients, given.rounds)), flush=True)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.path.insert(0, str(Path(__file__).parents[2]))
    main()
