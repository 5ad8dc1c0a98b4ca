"""Fixtures and profiles of all tests."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from bench import arithmetic

settings.register_profile("fedsiege", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("fedsiege")


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
