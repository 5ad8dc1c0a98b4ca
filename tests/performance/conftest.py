"""What the benchmarks share: two threads, random messages, and `tracked`, through which each of them is timed.

`pytest -m performance` runs them all, `pytest -m "performance and quick"` the quick ones, and
`python -m bench perf` runs them several times over, normalises and compares.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor

from bench import data
from bench.base import device, rng
from bench.base.errors import BadInputError
from bench.base.memory import keep_freed_memory
from bench.perf.measure import THREADS
from bench.perf.tracker import Tracker


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "quick: a benchmark of the quick set, seconds for all of them")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default=device.CPU, help="cpu or cuda: where the benchmarks compute.")


@pytest.fixture(scope="session", autouse=True)
def _device(request: pytest.FixtureRequest) -> Iterator[None]:
    """On a GPU all tensors of the benchmarks lie there."""
    with device.computing_on(device.choose(request.config.getoption("--device", default=device.CPU))):
        yield


@pytest.fixture(scope="module", autouse=True)
def _two_threads(_one_thread: None) -> Iterator[None]:
    """Two threads, and memory that stays in the process, as in a cell's run."""
    keep_freed_memory()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(1)


@cache
def _missing(dataset: str) -> str | None:
    """Why a data set cannot be had, tried once a process; None where it can."""
    try:
        data.load(dataset)
    except BadInputError as error:
        return str(error)
    return None


@pytest.fixture(autouse=True)
def _data(request: pytest.FixtureRequest) -> None:
    """A benchmark marked `data("mnist")` is skipped, and says so, where there is no MNIST."""
    for marker in request.node.iter_markers("data"):
        for dataset in marker.args:
            if (why := _missing(dataset)) is not None:
                pytest.skip(why)


@pytest.fixture
def tracked(benchmark: Any) -> Tracker:
    """Times a function with the calibration kernels around every round: `tracked(lambda: krum(messages, 300))`."""
    return Tracker(benchmark)


@pytest.fixture(scope="session")
def normal_messages(_device: None) -> Callable[[int, int], Tensor]:
    """Messages `(n, d)` from N(0, 1), float32; the same ones every time."""

    def make(num_messages: int, dim: int) -> Tensor:
        return torch.randn(num_messages, dim, generator=rng.generator(0, "benchmark", num_messages, dim))

    return make


@pytest.fixture(scope="session")
def messages(normal_messages: Callable[[int, int], Tensor]) -> Tensor:
    """1000 clients' softmax regressions on MNIST, `(1000, 7850)`."""
    return normal_messages(1000, 7850)
