"""Pieces of a matrix: together they are the whole, in order, and rows come padded."""

import numpy as np
import pytest
import torch
from torch import Tensor

from bench.base.blocks import GROUP_BYTES, LINE_BYTES, in_column_blocks, in_groups, per_thread, scratch, transposed


def numbers(num_rows: int, dim: int) -> Tensor:
    return torch.arange(num_rows * dim, dtype=torch.float32).view(num_rows, dim)


@pytest.mark.parametrize("num_rows", [1, 2, 3, 9])
@pytest.mark.parametrize("dim", [1, GROUP_BYTES // 4, GROUP_BYTES // 2])
def test_groups_are_all_rows_two_at_least_at_a_time(num_rows: int, dim: int) -> None:
    matrix = torch.arange(float(num_rows))[:, None].expand(num_rows, dim)
    groups = in_groups(matrix)
    assert torch.equal(torch.cat(groups), matrix)
    assert all(len(group) >= min(2, num_rows) for group in groups)
    assert len(groups[0]) == max(len(group) for group in groups)
    assert len(groups) == (1 if dim == 1 else max(1, num_rows // 2))


@pytest.mark.parametrize(
    ("dim", "shapes"),
    [
        (3, [(1, 2, 3)]),
        (4, [(1, 2, 4)]),
        (5, [(1, 2, 4), (1, 2, 1)]),
        (12, [(3, 2, 4)]),
        (31, [(3, 2, 4), (3, 2, 4), (1, 2, 4), (1, 2, 3)]),
    ],
)
def test_column_blocks_are_views_of_all_columns_in_order(dim: int, shapes: list[tuple[int, ...]]) -> None:
    matrix = numbers(2, dim)
    pieces = list(in_column_blocks(matrix, width=4, count=3))
    assert [tuple(blocks.shape) for _, blocks in pieces] == shapes
    for columns, blocks in pieces:
        assert torch.equal(blocks.transpose(0, 1).flatten(1), matrix[:, columns])
        blocks.neg_()
    assert torch.equal(matrix, -numbers(2, dim))
    assert [column for columns, _ in pieces for column in range(dim)[columns]] == list(range(dim))


def test_room_for_blocks_no_more_than_there_are_with_rows_a_line_apart() -> None:
    matrix = numbers(2, 1000)
    assert scratch(matrix, 3, width=256, count=8).shape == (3, 3, 256)
    assert scratch(matrix, 3, width=256, count=2).shape == (2, 3, 256)
    assert scratch(matrix, 3, width=4096, count=2).shape == (1, 3, 1000)
    assert scratch(matrix, 3, width=256, count=2).stride() == (3 * (256 + LINE_BYTES // 4), 256 + LINE_BYTES // 4, 1)


def test_every_thread_has_a_block_and_more_where_its_cache_holds_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert [per_thread(size, 1000) for size in (2000, 1000, 500, 300)] == [3, 3, 6, 9]


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_transposed_copy_in_row_order(order: str) -> None:
    columns = np.asarray(np.arange(35, dtype=np.float64).reshape(5, 7), order="C" if order == "C" else "F")
    found = transposed(columns)
    assert np.array_equal(found, columns.T)
    assert found.flags.c_contiguous
    assert not np.shares_memory(found, columns)
