"""What the referee costs: a round of a shipped rule in the engine's process, and as if its file had been submitted.

    python tests/performance/referee.py --defenses krum rsa dpbfl niss

20 clients and softmax regression on the digits (650 parameters), every message sent, one thread. All are played in
turns, and the median of the rounds is printed: by the clock, as the sides work in processes of their own. In a secret
world clients are asked one by one; `verify --worlds` plays there, a run for the board does not.
"""

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any, cast

import torch

from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.secret import secret_world
from bench.federation.settings import FederationSettings
from bench.protocol import Defense
from bench.submission.child import facts_about
from bench.submission.referee.party import Code, end_all
from bench.submission.referee.proxies import stand_in

SETTINGS = FederationSettings(
    dataset="digits", clients=20, rounds=100, local_steps=1, batch_size=10, lr=0.5, messages="always"
)
FIRST, ROUNDS, TURNS = 3, 30, 3


def behind(name: str) -> type[Defense]:
    """The stand-in for a shipped rule."""
    cls = registry.get("defense", name)
    file = Path(sys.modules[cls.__module__].__file__ or "").resolve()
    found: Any = stand_in(Code(file, cls.__module__, cls.__name__, name), facts_about(cls()))
    found.name = name
    return cast(type[Defense], found)


def rounds(defense: Defense) -> list[float]:
    """Milliseconds of each round, the first ones left out."""
    federation, times = Federation(SETTINGS, defense, load("digits"), seed=1), []
    for _ in range(FIRST + ROUNDS):
        start = time.perf_counter()
        federation.advance()
        times.append(1000 * (time.perf_counter() - start))
    return times[FIRST:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--defenses", nargs="+", default=["krum", "rsa", "dpbfl", "niss"])
    names = parser.parse_args().defenses
    torch.set_num_threads(1)
    print("| rule | in the engine, ms | behind the referee, ms | in a secret world, ms |\n|:--|--:|--:|--:|")
    for name in names:
        alone: list[float] = []
        apart: list[float] = []
        secret: list[float] = []
        for _ in range(TURNS):
            alone += rounds(registry.get("defense", name)())
            apart += rounds(behind(name)())
            with secret_world():
                secret += rounds(behind(name)())
            end_all()
        print(f"| `{name}` | " + " | ".join(f"{statistics.median(one):.1f}" for one in (alone, apart, secret)) + " |")


if __name__ == "__main__":
    main()
