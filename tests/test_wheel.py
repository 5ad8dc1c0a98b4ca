"""The wheel as a user has it: built, checked, installed and used where there is no checkout."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_all_that_the_code_reads_beside_itself_is_in_the_wheel_s_list() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    patterns = project["tool"]["setuptools"]["package-data"]
    missing = []
    for package in ("bench", "attacks", "defenses", "leaderboards"):
        listed = {path for pattern in patterns[package] for path in (ROOT / package).glob(pattern)}
        there = {path for path in (ROOT / package).rglob("*") if path.is_file() and path.suffix not in {".py", ".pyc"}}
        missing += [path.relative_to(ROOT).as_posix() for path in there - listed]
    assert missing == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_wheel_works_without_the_checkout() -> None:
    """Needs the package index for `build` and `twine`; everything else is this interpreter's."""
    environment = {**os.environ, "WHEEL_PYTHON": sys.executable}
    done = subprocess.run([ROOT / "tests" / "wheel.sh"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("the wheel works\n")
