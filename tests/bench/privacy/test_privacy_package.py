"""The package loads neither torch nor dp-accounting: the command line starts at once."""

import subprocess
import sys
from pathlib import Path

import bench.privacy


def test_every_public_name_is_exported() -> None:
    assert bench.privacy.__all__ == sorted(bench.privacy.__all__)
    assert all(getattr(bench.privacy, name).__doc__ for name in bench.privacy.__all__)


def test_importing_it_loads_no_heavy_library() -> None:
    code = "import sys, bench.privacy; print({'torch', 'dp_accounting', 'pandas'} & set(sys.modules))"
    root = Path(bench.__file__).parents[1]
    found = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert found.stdout == "set()\n"
