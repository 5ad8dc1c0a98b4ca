"""The peak memory of one call, as the Linux kernel counts it, or on a GPU as torch does."""

import ctypes
from collections.abc import Callable
from pathlib import Path

from bench.base.device import CPU, current

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5)


def peak_bytes(function: Callable[[], object]) -> int | None:
    """Bytes by which resident memory rises at most while `function` runs; None where the system does not tell.

    Freed memory that the process has kept is given back first: it would hide what the call takes.
    """
    if current().type != CPU:
        return _on_the_gpu(function)
    try:
        ctypes.CDLL("libc.so.6").malloc_trim(0)
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
    except (OSError, AttributeError):
        return None
    before = _kilobytes("VmRSS")
    function()
    return max(0, _kilobytes("VmHWM") - before) * 1024


def _on_the_gpu(function: Callable[[], object]) -> int:
    import torch

    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    function()
    return torch.cuda.max_memory_allocated() - before


def _kilobytes(field: str) -> int:
    lines = dict(line.split(":", 1) for line in STATUS.read_text(encoding="utf-8").splitlines())
    return int(lines[field].split()[0])
