"""What it costs to hand a rule state dicts and not a matrix: one copy, of the order of a plain one of that size."""

import pytest
import torch
from torch import Tensor

from bench.base import rng
from bench.exchange.forms import copied_bytes, rows_of
from bench.perf.tracker import Tracker

pytestmark = pytest.mark.performance

CLIENTS = 100
SHAPES = {"conv.weight": (32, 3, 5, 5), "conv.bias": (32,), "dense.weight": (200, 800), "dense.bias": (200,)}


@pytest.fixture(scope="module")
def states() -> list[dict[str, Tensor]]:
    draws = rng.generator(0, "states")
    return [{name: torch.randn(shape, generator=draws) for name, shape in SHAPES.items()} for _ in range(CLIENTS)]


def test_a_matrix_costs_nothing(tracked: Tracker, states: list[dict[str, Tensor]]) -> None:
    matrix, _ = rows_of(states)
    rows, _ = tracked(lambda: rows_of(matrix))
    assert rows.data_ptr() == matrix.data_ptr()
    assert copied_bytes(matrix) == 0


def test_state_dicts_are_copied_once(tracked: Tracker, states: list[dict[str, Tensor]]) -> None:
    rows, form = tracked(lambda: rows_of(states), memory=True)
    assert copied_bytes(states) == rows.numel() * 4
    assert form.restored(rows[3])["dense.bias"].data_ptr() == rows[3, -200:].data_ptr()
