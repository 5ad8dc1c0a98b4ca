"""Pieces of a matrix `(n, d)` that stay in a core's cache while they are read more than once."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

GROUP_BYTES = 2**20
"""Whole rows that are read twice at a time."""

LINE_BYTES = 64
"""Of a cache line. Rows that start a power of two apart share few places in a cache: such rows are padded by a line."""


def in_groups(matrix: Tensor) -> tuple[Tensor, ...]:
    """The rows of `matrix (n, d)` in groups of two or more: torch adds the squares of a single row up differently."""
    groups = min(len(matrix) // 2, matrix.numel() * matrix.element_size() // GROUP_BYTES)
    return matrix.tensor_split(groups) if groups > 1 else (matrix,)


def in_column_blocks(matrix: Tensor, width: int, count: int) -> Iterator[tuple[slice, Tensor]]:
    """Which columns, and a view `(b, n, width)` of them: up to `count` blocks at a time, and what remains as one.

    Torch's threads share a view's blocks out, whatever is done with it, so that each finds its own in its core's cache.
    """
    dim = matrix.shape[1]
    whole = dim // width
    for block in range(0, whole, count):
        columns = slice(block * width, min(block + count, whole) * width)
        yield columns, matrix[:, columns].unflatten(1, (-1, width)).transpose(0, 1)
    if whole * width < dim:
        columns = slice(whole * width, dim)
        yield columns, matrix[:, columns].unsqueeze(0)


def scratch(matrix: Tensor, num_rows: int, width: int, count: int) -> Tensor:
    """Room for `count` blocks `(count, num_rows, width)` with the rows padded: new pages cost more than arithmetic."""
    width = min(width, matrix.shape[1])
    blocks = min(count, matrix.shape[1] // width)
    return matrix.new_empty(blocks, num_rows, width + LINE_BYTES // matrix.element_size())[:, :, :width]


def per_thread(block_bytes: int, cache_bytes: int) -> int:
    """As many blocks as fit in the caches of all of torch's threads, at least one a thread."""
    return torch.get_num_threads() * max(1, cache_bytes // block_bytes)


def on_all_threads(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Do the work on as many threads as torch may use; numpy lets go of the interpreter's lock while it computes."""
    threads = min(torch.get_num_threads(), len(items)) if len(items) > 1 else 1
    if threads == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass


def transposed(columns: np.ndarray) -> np.ndarray:
    """A copy `(b, n)` of `columns (n, b)`, by way of padded rows that lie close together."""
    num_rows, width = columns.shape
    near = np.empty((num_rows, width + LINE_BYTES // columns.itemsize), dtype=columns.dtype)[:, :width]
    near[:] = columns
    return np.array(near.T, order="C")
