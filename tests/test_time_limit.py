"""Every test has a limit of time; one that hangs fails by its name, and those after it run."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HANGS = """
import time
import pytest

@pytest.mark.parametrize("seconds", [0, 600])
def test_sleeps(seconds):
    time.sleep(seconds)

def test_after_it():
    pass
"""


def test_there_is_a_limit(pytestconfig: pytest.Config) -> None:
    limit = float(pytestconfig.getini("timeout"))
    assert 0 < limit < float(pytestconfig.getini("faulthandler_timeout"))


def test_what_hangs_is_named(tmp_path: Path) -> None:
    (tmp_path / "test_hangs.py").write_text(HANGS)
    options = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path), "-o", "timeout=1"]
    command = [sys.executable, "-m", "pytest", *options, "-p", "no:cacheprovider", "test_hangs.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "FAILED test_hangs.py::test_sleeps[600] - Failed: Timeout" in done.stdout
    assert "1 failed, 2 passed" in done.stdout
