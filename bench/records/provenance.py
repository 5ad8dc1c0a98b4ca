"""Where a record was made: versions, commit, processor."""

import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel

from bench.base import arithmetic
from bench.base.numbers import STRICT

CODE = ("bench", "attacks", "defenses", "pyproject.toml")
"""What of a checkout can change a record's numbers: a board or a record that is made anew is no change of them."""


class Environment(BaseModel):
    """Where the record was made."""

    model_config = STRICT

    fedsiege: str
    python: str
    torch: str
    numpy: str
    machine: str
    device: str
    threads: int
    commit: str | None
    cpu: str = ""  # model and instruction set; with the versions of torch and numpy the class of the machine
    arithmetic: str = ""  # "portable", "native"; empty in records from before
    arithmetic_version: int = 1  # of the code's own part in it
    scipy: str = ""


def environment(device: str, threads: int) -> Environment:
    """The machine and the versions at hand."""
    return Environment(
        fedsiege=version("fedsiege"),
        python=platform.python_version(),
        torch=version("torch"),
        numpy=version("numpy"),
        machine=platform.machine(),
        device=device,
        threads=threads,
        commit=_git_commit(),
        cpu=_cpu(),
        arithmetic=arithmetic.current(),
        arithmetic_version=arithmetic.VERSION,
        scipy=version("scipy"),
    )


@cache
def _cpu() -> str:
    """The CPU's model, as far as the system names it, and the widest instructions that torch uses on it."""
    import torch  # here, because reading records needs none of it

    return f"{_cpu_model()}, {torch.backends.cpu.get_cpu_capability()}"


def _cpu_model() -> str:
    """Name, family, model and stepping: a virtual machine's name alone may stand for several generations."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n")[0].splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = "-".join(facts[key] for key in ("cpu family", "model", "stepping") if key in facts)
    return " ".join(part for part in (facts.get("model name", platform.machine()), numbers) if part)


@cache
def _git_commit() -> str | None:
    """The checkout's commit, `-dirty` where its code has changes; None outside a checkout."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return None

    def git(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["git", "-C", str(root), *arguments]
        return subprocess.run(command, capture_output=True, encoding="utf-8", errors="replace", check=False)

    try:
        commit = git("rev-parse", "--short=12", "HEAD").stdout.strip()
    except OSError:  # a machine without git
        return None
    changed = git("diff", "--quiet", "HEAD", "--", *CODE).returncode != 0
    return f"{commit}{'-dirty' if changed else ''}" if commit else None


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
