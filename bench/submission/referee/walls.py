"""The walls around submitted code: bubblewrap's namespaces where the system has it, limits of the kernel everywhere.

Behind them there is no network, no other process, a root that nobody can write to, an empty home and no data set. A
system without bubblewrap, or where it may make no namespaces, gives none of that: there the code is run only where the
user says that they trust it.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from bench.base.errors import BadInputError
from bench.base.trust import TRUST as TRUST

ROOT = Path(__file__).parents[3]
CODE = ("bench", "attacks", "defenses", "leaderboards")
"""What of the checkout is seen: code. Records, history and secrets beside it are not."""

HIDDEN = ("/home", "/root", "/tmp", "/run", "/var", "/srv", "/mnt", "/media")
"""Folders that are empty behind the walls."""

EMBEDDED_DATA = ("digits.csv.gz",)
"""Data sets among the installed packages."""


def require() -> None:
    """Raise `BadInputError` where there are no walls, and nobody has said that the files are trusted."""
    if not (available() or os.environ.get(TRUST) == "1"):
        raise BadInputError(
            "nothing holds submitted code back here, as there is no bubblewrap that may make namespaces: install it "
            "(apt install bubblewrap), or read the file and add --trust"
        )


@cache
def available() -> bool:
    """Whether bubblewrap is there and may unshare everything."""
    found = shutil.which("bwrap")
    if found is None or sys.platform != "linux":
        return False
    tried = [found, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(tried, capture_output=True, check=False, timeout=30).returncode == 0


def prefix(readable: Sequence[Path] = (), hidden: Sequence[Path] = ()) -> list[str]:
    """The words before a command that starts it behind walls; none where this system has no walls.

    `readable` are files that the code inside may read, `hidden` folders of data that it may not see. It gets no session
    of its own, by which `sandbox` tells what memory is held behind the walls.
    """
    if not available():
        return []
    words = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    words += ["--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"]
    emptied = [folder for folder in (*HIDDEN, str(ROOT), *map(str, hidden)) if Path(folder).is_dir()]
    for folder in emptied:
        words += ["--tmpfs", folder]
    for place in (*_interpreter(), *(ROOT / name for name in CODE), *readable):
        words += ["--ro-bind", str(place), str(place)]
    for name in EMBEDDED_DATA:
        for place in Path(sysconfig.get_path("purelib")).glob(f"sklearn/datasets/data/{name}"):
            words += ["--ro-bind", "/dev/null", str(place)]
    for folder in (*emptied, "/dev"):
        words += ["--remount-ro", folder]
    return [*words, "--chdir", "/", "--"]


def _interpreter() -> list[Path]:
    """Where Python and its packages lie: those of a virtual environment may lie in a home."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    places |= {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib")}
    kept = [place for place in places if place.is_dir() and any(place.is_relative_to(one) for one in (*HIDDEN, ROOT))]
    return sorted(kept)
