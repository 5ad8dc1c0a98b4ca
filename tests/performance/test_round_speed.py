"""A whole round, training to new model: 1000 clients of MNIST, softmax regression, batches of 32, 30 % flipped signs.

RSA and DPBFL stand beside the roofline: the time that the machine, by its own measured rates, needs at least to move
the bytes of a round and to do its arithmetic. Bytes are moved at the rate of a stream beyond all caches, as STREAM has
it, and, for a machine whose last cache holds a whole round, at the rate of a stream over as much as a round touches.
"""

import resource
import statistics
import time
from collections.abc import Callable

import pytest
import torch

from bench import registry
from bench.base import device, rng
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.perf.tracker import Tracker
from defenses.niss import exchange

pytestmark = [pytest.mark.performance, pytest.mark.data("mnist")]

CLIENTS, BATCH, PIXELS, CLASSES = 1000, 32, 784, 10
DIM = CLASSES * (PIXELS + 1)
FLOAT = 4  # bytes

BEYOND_CACHES, A_ROUND = 3 * 2**30, 2**28
"""Bytes of the two streams' three arrays."""


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
    arithmetic = operations / matrix_rate()
    floors = {
        "roofline": moved / stream_rate(BEYOND_CACHES) + arithmetic,
        "roofline_cached": moved / stream_rate(A_ROUND) + arithmetic,
    }
    tracked(found.advance, memory=True, **{f"{name}_ms": round(1e3 * floor, 2) for name, floor in floors.items()})
    if not tracked.benchmark.disabled:
        seconds = tracked.benchmark.stats.stats.median
        for name, floor in floors.items():
            tracked.benchmark.extra_info[f"times_{name}"] = round(seconds / floor, 2)
            print(
                f"{defense}: {1e3 * seconds:.1f} ms a round, {seconds / floor:.2f} times the {name}, {1e3 * floor:.1f}"
            )
    assert min(floors.values()) > 0


@pytest.mark.parametrize("clients", [1000, 10_000, 100_000])
def test_round_of_many_clients(tracked: Tracker, clients: int) -> None:
    """DPBFL, 60 samples a client, drawn with replacement where that is more than there are."""
    found = federation("dpbfl", clients, samples=60)
    before = found.global_model
    tracked(found.advance, memory=True, rounds=3 if clients == 100_000 else None)
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    tracked.benchmark.extra_info["process_peak_gb"] = round(kilobytes / 2**20, 2)
    assert not torch.equal(found.global_model, before)


def test_noise_exchange_of_the_niss_paper(tracked: Tracker) -> None:
    """30 participants of 100, the MLP, 29 shares each: drawn block by block, no edge is kept."""
    generator = rng.generator(0, "exchange")
    found = tracked(lambda: exchange(30, 199_210, 0.02, 29, 0.6, generator), memory=True, rounds=5)
    assert found.own.shape == (30, 199_210)


def stream_rate(size_in_bytes: int) -> float:
    """Bytes a second of an addition of two arrays into a third, of that size together."""
    size = size_in_bytes // (3 * FLOAT)
    first, second, total = (torch.full((size,), value) for value in (0.5, 0.25, 0.0))
    return 3 * FLOAT * size / seconds_of(lambda: torch.add(first, second, out=total))


def matrix_rate() -> float:
    """Operations a second of a large matrix product."""
    side = 1536
    left, right, product = (torch.full((side, side), value) for value in (0.5, 0.25, 0.0))
    return 2 * side**3 / seconds_of(lambda: torch.mm(left, right, out=product))


def seconds_of(work: Callable[[], object]) -> float:
    """The median of nine runs, after one to warm up."""

    def once() -> float:
        start = time.perf_counter()
        work()
        device.synchronise()
        return time.perf_counter() - start

    once()
    return statistics.median(once() for _ in range(9))
