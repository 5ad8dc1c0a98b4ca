"""The walls around submitted code: bubblewrap's namespaces where the system has it, limits of the kernel everywhere.

Behind them there is no network, no other process, no file but programs and code, nothing to write to and no data set. A
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

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc", "/sys", "/nix/store")
"""What of the system is seen: programs and libraries. Every other folder is not there at all."""

PACKAGES = ("site-packages", "dist-packages")
"""Names of folders of installed packages: of the user's own, and of those that a .pth file names."""

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
    result = shutil.which("bwrap")
    if result is None or sys.platform != "linux":
        return False
    tried = [result, "--unshare-all", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(tried, capture_output=True, check=False, timeout=30).returncode == 0


def prefix(readable: Sequence[Path] = (), hidden: Sequence[Path] = ()) -> list[str]:
    """The words before a command that starts it behind walls; none where this system has no walls.

    What is seen is named, and nothing else is there: the system's programs, Python with its packages, the code of the
    bench, and the files `readable`. `hidden` are folders of data that may lie among these. It gets no session of its
    own, by which `sandbox` tells what memory is held behind the walls.
    """
    if not available():
        return []
    words = [shutil.which("bwrap") or "bwrap", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"]
    system = [Path(name) for name in SYSTEM if Path(name).is_dir()]
    seen = [*system, *_interpreter(system), *(ROOT / name for name in CODE), *readable]
    emptied = [folder for folder in (Path("/tmp"), *hidden) if folder.is_dir()]
    covered = [folder for folder in emptied if any(folder.is_relative_to(place) for place in system)]
    for place in system:
        words += ["--ro-bind", str(place), str(place)]
    words += ["--dev", "/dev", "--proc", "/proc"]
    words += ["--dev-bind", "/dev/null", "/dev/zero"]  # what is mapped of it is memory that no limit counts
    for empty in emptied:
        words += ["--tmpfs", str(empty)]
    for place in seen[len(system) :]:
        words += ["--ro-bind", str(place), str(place)]
    for empty in emptied:
        if empty not in covered and any(empty.is_relative_to(place) for place in seen):
            words += ["--tmpfs", str(empty)]
    for name in EMBEDDED_DATA:
        for place in (one for folder in packages() for one in folder.glob(f"sklearn/datasets/data/{name}")):
            words += ["--ro-bind", "/dev/null", str(place)]
    for folder in (*map(str, emptied), "/dev", "/"):
        words += ["--remount-ro", folder]
    return [*words, "--chdir", "/", "--"]


def packages() -> set[Path]:
    """The folders in which this Python finds installed packages."""
    named = {Path(one) for one in sys.path if Path(one).name in PACKAGES}
    return named | {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")}


def _interpreter(system: Sequence[Path]) -> list[Path]:
    """Where Python and its packages lie, as far as that is not among the system's programs."""
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.executable).resolve().parent}
    places |= {Path(sysconfig.get_path("stdlib")), *packages()}
    outside = [place for place in places if not any(place.is_relative_to(one) for one in system)]
    return sorted(place for place in outside if place.is_dir())
