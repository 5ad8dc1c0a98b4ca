"""Which arithmetic a process computes in: the instructions that its numerical libraries use for sums and exponentials.

The libraries read their variables once, as they load, so `bench` sets them before torch and numpy are imported. In both
arithmetics a client's bits do not depend on who lies beside it in memory: MKL's own default gives them no such promise,
and `MKL_CBWR` does. `portable` is the same bit for bit on every x86-64 processor with AVX2 and FMA (Intel's since 2013,
AMD's since 2015); `native` takes the widest instructions at hand.

MKL's AVX2 branch is none for this purpose: it runs other code on AMD's processors than on Intel's. `COMPATIBLE` runs
the same on both. What no variable holds, the first guesses of roots and logarithms, `bench.elementary` goes without.
"""

import os
import platform
import sys
from pathlib import Path

from bench.base.errors import BadInputError
from bench.base.names import unknown

PORTABLE, NATIVE = "portable", "native"
ARITHMETICS = (PORTABLE, NATIVE)

VARIABLE = "FEDSIEGE_ARITHMETIC"
"""Names the arithmetic of a process and of all that it starts."""

PINS: dict[str, dict[str, str]] = {
    PORTABLE: {
        "MKL_CBWR": "COMPATIBLE",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "OPENBLAS_CORETYPE": "Haswell",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
    },
    NATIVE: {"MKL_CBWR": "AUTO"},
}
"""What MKL, torch's own kernels, oneDNN, OpenBLAS (of numpy and scipy) and numpy's own loops are told."""

NUMERICAL = ("torch", "numpy", "scipy")
"""Packages that have read their variables once they are imported."""

NEEDED = {"avx2", "fma"}
"""Flags of a processor that can compute in the portable arithmetic."""

OURS = "FEDSIEGE_PINNED"
"""Lists the variables that we have set, for the processes that this one starts: a user's own are kept by `native`."""

_current = NATIVE


def current() -> str:
    """The arithmetic of this process: `portable` where every variable was pinned before a library could read it."""
    return _current


def start() -> None:
    """Choose what `FEDSIEGE_ARITHMETIC` names, else `portable` where the processor can; called as `bench` is imported.

    A name that is none, or what this processor cannot do, is for the command line to refuse.
    """
    global _current
    late = is_too_late()
    if not late:
        _pin(NATIVE if os.environ.get(VARIABLE) == NATIVE or lacking() else PORTABLE)
    _current = _pinned()
    if late and _current == NATIVE:
        os.environ[VARIABLE] = NATIVE  # for the processes that this one starts


def choose(name: str | None) -> None:
    """Set the variables of an arithmetic for this process and all that it starts; None leaves what `start` chose.

    Raises `BadInputError` for an unknown name, for `portable` on a processor that lacks the instructions, and for a
    change after torch or numpy was imported.
    """
    global _current
    if name is None:
        return
    if name not in ARITHMETICS:
        raise BadInputError(unknown("arithmetic", name, ARITHMETICS))
    if name == PORTABLE and (lacks := lacking()):
        raise BadInputError(f"the portable arithmetic needs {lacks}: leave --arithmetic out, or say native")
    if name != _current and is_too_late():
        raise BadInputError(f"the arithmetic is {_current}, as numpy is loaded: set {VARIABLE}={name} before that")
    os.environ[VARIABLE] = name
    if not is_too_late():
        _pin(name)
        _current = _pinned()


def variables() -> dict[str, str]:
    """What a process elsewhere must be started with to compute as this one does."""
    names = (VARIABLE, OURS, *PINS[PORTABLE])
    return {name: os.environ[name] for name in names if name in os.environ}


def is_too_late() -> bool:
    """Whether a numerical library has read its variables already."""
    return any(package in sys.modules for package in NUMERICAL)


def lacking() -> str:
    """What the machine lacks for the portable arithmetic, in words; empty where it lacks nothing."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return f"an x86-64 processor, and this is {platform.machine()}"
    try:
        facts = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return "a system that tells its processor's instructions in /proc/cpuinfo"
    flags = next((line.partition(":")[2].split() for line in facts.splitlines() if line.startswith("flags")), [])
    missing = sorted(NEEDED - set(flags))
    return f"a processor with {' and '.join(missing)}" if missing else ""


def _pin(name: str) -> None:
    """Set the variables of `name`, and take back what another choice of ours has set.

    Whoever sets a variable and asks for `native` keeps it: so one machine stands for several.
    """
    ours = set(os.environ.get(OURS, "").split())
    for variable in ours:
        os.environ.pop(variable, None)
    wanted = {
        variable: value for variable, value in PINS[name].items() if name == PORTABLE or variable not in os.environ
    }
    changed = {variable for variable, value in wanted.items() if os.environ.get(variable) != value}
    os.environ.update(wanted, **{OURS: " ".join(sorted(changed))})


def _pinned() -> str:
    pinned = all(os.environ.get(variable) == value for variable, value in PINS[PORTABLE].items())
    return PORTABLE if pinned and not lacking() else NATIVE
