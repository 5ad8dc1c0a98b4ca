"""A folder of somebody's own that has names of our packages in it: the bench plays what it ships, in every process."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import BESIDE, registry
from bench.submission import sandbox
from bench.submission.sandbox import Bounds

pytestmark = pytest.mark.integration

Shell = Callable[..., Any]
THEIRS = 'raise RuntimeError("this is not the bench\'s")\n'


@pytest.fixture(params=["packages", "plain folders", "modules"])
def shadowed(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    for name in BESIDE:
        if request.param == "modules":
            (tmp_path / f"{name}.py").write_text(THEIRS)
            continue
        (tmp_path / name).mkdir()
        (tmp_path / name / "krum.py").write_text(THEIRS)
        if request.param == "packages":
            (tmp_path / name / "__init__.py").write_text(THEIRS)
    return tmp_path


@pytest.mark.usefixtures("shadowed")
def test_the_bench_lists_what_it_ships(shell: Shell) -> None:
    done = shell("list", "--json")
    assert (done.code, done.err) == (0, "")
    found = json.loads(done.out)
    assert list(found["attacks"]) == registry.names("attack")
    assert list(found["defenses"]) == registry.names("defense")
    assert "sign_flip" in found["attacks"]


@pytest.mark.parametrize("shadowed", ["packages"], indirect=True)
def test_worker_processes_play_what_it_ships(shadowed: Path, shell: Shell, suite_text: str) -> None:
    (shadowed / "tiny.toml").write_text(suite_text)
    asked = ("--attack", "sign_flip", "--workers", "2", "--results", "out", "--json")
    done = shell("run", "--suite", "tiny.toml", *asked)
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert (report["ran"], report["failed_or_diverged"]) == (4, [])


@pytest.mark.parametrize("shadowed", ["packages"], indirect=True)
def test_a_submission_s_processes_play_what_it_ships(
    shadowed: Path, suite_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shadowed)
    Path("tiny.toml").write_text(suite_text)
    job = {"do": "run", "suite": "tiny.toml", "results": "out", "workers": 2, "quiet": True, "data_root": None}
    part = {"defenses": ["median"], "attacks": ["sign_flip"], "salt": "", "sources": [], "clean_too": True}
    job |= {"parts": [part], "cell_timeout": 100.0, "cell_memory": 4096}
    done = sandbox.call(job, [], Bounds(200.0, 16384))
    assert done.broken is None
    ran = done.last("ran")
    assert ran is not None
    assert (ran["ran"], ran["unfinished"]) == (2, [])


def test_a_module_that_was_there_first_is_told(tmp_path: Path) -> None:
    """Nothing of ours is looked for in somebody else's module."""
    (tmp_path / "attacks.py").touch()
    (tmp_path / "first.py").write_text("import attacks\nimport bench\n")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "first.py"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    told = f"ImportError: fedsiege has a package 'attacks', and {tmp_path}/attacks.py was imported under that name"
    assert told in done.stderr
