"""A whole round, training to new model: 1000 clients of MNIST, softmax regression, batches of 32, 30 % flipped signs.

RSA and DPBFL stand beside the roofline: the time that the machine, by its own measured rates, needs at least to move
the bytes of a round and to do its arithmetic.
"""

import statistics
from collections.abc import Callable

import pytest
import torch

from bench import registry
from bench.data import load
from bench.federation import Federation
from bench.perf.tracker import Tracker
from bench.settings import FederationSettings

pytestmark = [pytest.mark.performance, pytest.mark.data]

CLIENTS, BATCH, PIXELS, CLASSES = 1000, 32, 784, 10
DIM = CLASSES * (PIXELS + 1)
FLOAT = 4  # bytes

STREAM_BYTES = 2**28
"""The roofline's stream runs over as much as a round does: 100 MB of images and two sets of models or updates."""


def federation(defense: str, clients: int = CLIENTS, samples: int | None = None) -> Federation:
    settings = FederationSettings(
        dataset="mnist",
        clients=clients,
        samples_per_client=samples,
        rounds=1,
        local_steps=1,
        batch_size=BATCH,
        lr=0.1,
        assumed_byzantine=0.3,
    )
    attack = registry.get("attack", "sign_flip")()
    found = Federation(settings, registry.get("defense", defense)(), load("mnist"), 0, attack, 0.3)
    found.advance()
    return found


@pytest.mark.quick
@pytest.mark.parametrize("defense", ["fedavg", "dp_fedavg", "median", "krum", "trimmed_mean"])
def test_round(tracked: Tracker, defense: str) -> None:
    found = federation(defense)
    before = found.round
    tracked(found.advance, memory=True)
    assert found.round > before
    assert bool(torch.isfinite(found.global_model).all())


@pytest.mark.quick
@pytest.mark.parametrize("defense", ["rsa", "dpbfl"])
def test_round_beside_the_roofline(tracked: Tracker, defense: str) -> None:
    """Bytes: a batch of images once, each kept model read and written, forged votes read and written."""
    found = federation(defense)
    votes = 2 * 0.3 * CLIENTS * DIM * (FLOAT if defense == "rsa" else 1)
    moved = CLIENTS * (BATCH * PIXELS + 2 * DIM) * FLOAT + votes
    operations = 2 * 2 * CLIENTS * BATCH * DIM  # forward and weight gradient, a multiplication and an addition each
    floor = moved / stream_rate() + operations / matrix_rate()
    tracked(found.advance, memory=True, roofline_ms=round(1e3 * floor, 2))
    if not tracked.benchmark.disabled:
        seconds = tracked.benchmark.stats.stats.median
        tracked.benchmark.extra_info["times_roofline"] = round(seconds / floor, 2)
        print(
            f"{defense}: {1e3 * seconds:.1f} ms a round, {seconds / floor:.2f} times the roofline ({1e3 * floor:.1f})"
        )
    assert floor > 0


@pytest.mark.parametrize("clients", [1000, 10_000, 100_000])
def test_round_of_many_clients(tracked: Tracker, clients: int) -> None:
    """DPBFL, 60 samples a client, drawn with replacement where that is more than there are."""
    found = federation("dpbfl", clients, samples=60)
    tracked(found.advance, memory=clients < 100_000, rounds=3 if clients == 100_000 else None)
    assert found.kept is not None
    assert found.kept.shape == (clients, DIM)


def stream_rate() -> float:
    """Bytes a second of an addition of two arrays into a third."""
    size = STREAM_BYTES // (3 * FLOAT)
    first, second, total = (torch.full((size,), value) for value in (0.5, 0.25, 0.0))
    return 3 * FLOAT * size / seconds_of(lambda: torch.add(first, second, out=total))


def matrix_rate() -> float:
    """Operations a second of a large matrix product."""
    side = 1536
    left, right, product = (torch.full((side, side), value) for value in (0.5, 0.25, 0.0))
    return 2 * side**3 / seconds_of(lambda: torch.mm(left, right, out=product))


def seconds_of(work: Callable[[], object]) -> float:
    """The median of nine runs, after one to warm up."""
    import time

    def once() -> float:
        start = time.perf_counter()
        work()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(9))
