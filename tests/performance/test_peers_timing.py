"""A measurement of the peers' benchmark is a process of its own: its answer, its failure, its end at the limit."""

import importlib.util
import os
import subprocess
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="module")
def timing() -> ModuleType:
    """The script's module; it is in no package, since it also runs where ours is not installed."""
    spec = importlib.util.spec_from_file_location("peers_timing", Path(__file__).with_name("peers_timing.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_answer_comes_from_another_process(timing: ModuleType) -> None:
    assert timing.apart(lambda: {"seconds": 1.5, "process": os.getppid()}, 60) == {
        "seconds": 1.5,
        "process": os.getpid(),
    }


def test_what_fails_is_told_in_a_line_and_what_dies_too(timing: ModuleType) -> None:
    def fail() -> dict[str, Any]:
        raise ValueError("no such size\nand more")

    assert timing.apart(fail, 60) == {"seconds": None, "failed": "ValueError: no such size"}
    assert timing.apart(lambda: os._exit(3), 60) == {"seconds": None, "failed": "its process ended"}


def test_at_the_limit_it_ends_with_what_it_started(timing: ModuleType, tmp_path: Path) -> None:
    started = tmp_path / "started"

    def dawdle() -> dict[str, Any]:
        started.write_text(str(subprocess.Popen(["sleep", "600"]).pid))
        time.sleep(600)
        return {}

    begun = time.monotonic()
    while not started.exists():  # a busy machine may take longer than the limit to get there
        assert timing.apart(dawdle, 2 + time.monotonic() - begun) == {"seconds": None, "stopped": True}
    state = Path(f"/proc/{started.read_text()}/stat")
    assert not state.exists() or state.read_text().rsplit(")", 1)[1].split()[0] == "Z"
