"""What clients keep from round to round, a row each: in memory, or in a file where memory is too small for it.

The file is a temporary one that has no name, so that nothing of it is left whatever ends the process; `TMPDIR` names
its folder. It is mapped, and rows that are done with are let go: they are the system's to write out and to take back.
Where the rows lie changes no bit of them.
"""

import mmap
import os
import shutil
import tempfile

import torch
from torch import Tensor

from bench.base.device import on_gpu
from bench.base.errors import BadInputError
from bench.base.memory import WHERE, on_disk

GIB = 2**30


class Kept:
    """`count` rows `(n, d)` that start as `first (d,)`; those that nobody takes need no memory, and no writing.

    Raises `BadInputError` where they belong into a file, and its folder has no room for it.
    """

    def __init__(self, count: int, first: Tensor) -> None:
        self._first = first
        self._fresh = torch.ones(count, dtype=torch.bool)
        self._row_bytes = first.numel() * first.element_size()
        size = count * self._row_bytes
        self._file = None if on_gpu(first) or not on_disk(size) else _mapped(size)
        flat = first.new_empty(0) if self._file is None else torch.frombuffer(self._file, dtype=first.dtype)
        self._rows = first.new_empty(count, len(first)) if self._file is None else flat.view(count, -1)

    @property
    def bytes_on_disk(self) -> int:
        """What the file may take; 0 where there is none."""
        return 0 if self._file is None else len(self._file)

    def take(self, places: slice | Tensor) -> Tensor:
        """The rows `(c, d)` at these places: of a slice those that are kept, to be changed in place; else a copy."""
        fresh = self._fresh[places]
        if bool(fresh.any()):
            if isinstance(places, slice):
                self._rows[places][fresh] = self._first
            else:
                self._rows[places[fresh]] = self._first
            self._fresh[places] = False
        return self._rows[places]

    def put(self, places: slice | Tensor, rows: Tensor) -> None:
        """What was taken from these places, changed, is kept there, and done with for now."""
        if not isinstance(places, slice):
            self._rows[places] = rows
            self._fresh[places] = False
        if self._file is None or not len(rows):
            return
        first, last = (places.start, places.stop - 1) if isinstance(places, slice) else places.aminmax()
        start = int(first) * self._row_bytes // mmap.PAGESIZE * mmap.PAGESIZE
        self._file.madvise(mmap.MADV_DONTNEED, start, (int(last) + 1) * self._row_bytes - start)


def _mapped(size: int) -> mmap.mmap:
    """A file of so many bytes, zeros, in memory's place; all of its room is taken now: later nobody could be told."""
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    cure = f"set TMPDIR to a folder with more, or {WHERE}=memory"
    if free < size:
        raise BadInputError(f"what clients keep takes {size / GIB:.3g} GiB, and {folder} has {free / GIB:.3g}: {cure}")
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                os.ftruncate(file.fileno(), size)
        except OSError as error:
            raise BadInputError(f"{folder} cannot hold {size / GIB:.3g} GiB: {error.strerror}; {cure}") from None
        return mmap.mmap(file.fileno(), size)
