"""MoNNA's mixing, nearest-neighbour averaging (Farhadkhani et al. 2023): the mean of the n - f nearest to a pivot.

In the paper there is no server and each client's own message is its pivot, which it may trust. At a server some client
must stand in: as in the public implementations it is one of fixed place, the first, and nothing is claimed for it.
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting, check_matrix
from bench.registry import register
from bench.rules import RowRule, apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, distances_to, first_lowest, lowest_rows, squared_distances_from


def monna_weights(distances: Tensor, num_byzantine: int, pivot: int = 0) -> Tensor:
    """Weights `(n,)`: the mean over the n - f rows of smallest distance, `(n,)`; of those equal in it the first."""
    n = len(distances)
    _check(n, num_byzantine, pivot, "num_byzantine")
    return mean_of(first_lowest(distances, n - num_byzantine, DOUBLE_ERROR * distances), n)


def monna(messages: Tensor, num_byzantine: int, *, pivot: int = 0) -> Tensor:
    """The mean `(d,)` of the n - f rows of `(n, d)` nearest to row `pivot`, itself among them; of equal ones the first.

    Raises `ValueError` unless 0 <= 2 f < n, 0 <= pivot < n and the messages are finite.
    """
    check_matrix(messages)
    _check(len(messages), num_byzantine, pivot, "num_byzantine")
    return apply_weights(MoNNA(pivot=pivot).weigh(messages, num_byzantine), messages)


@register("defense", "monna")
class MoNNA(RowRule):
    """Nearest-neighbour averaging around the message of one client of the round."""

    version: ClassVar[int] = 2  # of rows that tie the first count

    pivot: int = Field(default=0, ge=0)

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, self.pivot, "assumed Byzantine clients")

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return monna_weights(squared_distances_from(gram, self.pivot), num_byzantine, self.pivot)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        check_matrix(messages)
        n, pivot = len(messages), messages[self.pivot]
        near = lowest_rows(messages, n - num_byzantine, lambda rows: distances_to(pivot.to(rows.dtype), rows))
        return mean_of(near, n)


def _check(n: int, f: int, pivot: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: the nearest n - f need n > 2 f")
    require(0 <= pivot < n, "pivot", pivot, f"between 0 and {n - 1}, one of the rows")
