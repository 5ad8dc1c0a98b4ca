"""Fixtures and profiles of all tests."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from bench.base import arithmetic
from bench.submission.referee import walls

if not walls.available():
    os.environ.setdefault(walls.TRUST, "1")  # the tests' own submissions play here without walls

settings.register_profile("fedsiege", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("fedsiege")

LONG = 3600
"""Seconds for a test that is slow, or measures performance."""

FIRST = ("test_cluster.py", "test_faults.py", "test_submit.py", "test_verify.py", "test_submit_attack.py")
"""Files of few tests that take long: two workers end together where these begin."""


def pytest_configure(config: pytest.Config) -> None:
    """Files keep their order; xdist would put those of few tests last."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Nothing that is collected is garbage, then or later; looking for some takes a quarter of the time."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: FIRST.index(item.path.name) if item.path.name in FIRST else len(FIRST))
    for item in items:
        if item.get_closest_marker("slow") or item.get_closest_marker("performance"):
            item.add_marker(pytest.mark.timeout(LONG))


def pytest_report_header() -> str:
    return f"arithmetic: {arithmetic.current()}"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch  # here, because `bench` says before which instructions it computes with

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """A torchvision data root, or a skip; a root that is named but absent is a fault."""
    if named := os.environ.get("FEDSIEGE_DATA"):
        root = Path(named).expanduser()
        assert root.is_dir(), f"FEDSIEGE_DATA={named} is not a directory"
        return root
    root = Path(__file__).parents[2] / "shared" / "data"
    if not root.is_dir():
        pytest.skip("no data root: set FEDSIEGE_DATA to a torchvision root")
    return root
