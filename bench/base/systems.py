"""What the suite needs of the operating system, and what it does without; the README names where it is tested."""

import sys
from pathlib import Path

from bench.base.errors import BadInputError

PROC = Path("/proc/self/statm")
"""Where Linux tells how much memory a process holds; macOS has no such file."""


def check() -> None:
    """Raise `BadInputError` on Windows, which has neither fork servers nor file locks as they are used here."""
    if sys.platform == "win32":
        raise BadInputError("Windows is not supported: use Linux in WSL 2 (`wsl --install`), where all of it runs")


def tells_memory() -> bool:
    """Whether limits of memory can be kept here."""
    return PROC.exists()
