"""MoNNA's mixing, nearest-neighbour averaging (Farhadkhani et al. 2023): the mean of the n - f nearest to a pivot.

In the paper there is no server and each client's own message is its pivot, which it may trust. At a server some client
must stand in, and nothing is claimed for it. Public implementations take one of fixed place. Here the server draws who
it is before the first round: of a client of fixed place it would be luck, the same in every row, that it is honest.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.base.rng import fork, shuffled
from bench.protocol import Delivered, ServerRound, Setting, check_matrix
from bench.registry import register
from bench.rules import RowRule, apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, distances_to, first_lowest, lowest_rows, squared_distances_from

ORDER, PIVOT = "order", "pivot"
"""What the server keeps: all clients in the order in which they stand in as the pivot, and who did so last."""


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
    return apply_weights(around(messages, num_byzantine, pivot), messages)


@register("defense", "monna")
class MoNNA(RowRule):
    """Nearest-neighbour averaging around the message of one client of the round.

    `pivot` is a row of fixed place; by default the server draws an order of all clients in its first round, and the
    pivot is the first of them whose message it has: one client throughout where all take part in every round.
    """

    version: ClassVar[int] = 2  # of rows that tie the first count

    pivot: int | None = Field(default=None, ge=0)

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, self.pivot or 0, "assumed Byzantine clients")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        messages = delivered.messages
        row = self._drawn(len(messages), server) if self.pivot is None else self.pivot
        weights = around(messages, server.setting.num_byzantine, row)
        return server.global_model + apply_weights(weights, messages)

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        row = self.pivot or 0
        return monna_weights(squared_distances_from(gram, row), num_byzantine, row)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return around(messages, num_byzantine, self.pivot or 0)

    def singled_out(self, memory: Mapping[str, Tensor]) -> dict[str, int]:
        return {"pivot": int(memory[PIVOT])} if PIVOT in memory else {}

    def _drawn(self, n: int, server: ServerRound) -> int:
        """The pivot's row: of messages that are no single client's, the names are their places."""
        mixed = server.clients is None or len(server.clients) != n
        if ORDER not in server.memory:
            server.memory[ORDER] = shuffled(max(server.setting.num_clients, n), fork(server.generator, PIVOT))
        place = server.memory[ORDER].argsort()
        names = (
            torch.arange(n, device=place.device) if mixed or server.clients is None else server.clients.to(place.device)
        )
        row = int(place[names].argmin())
        server.memory[PIVOT] = names[row].clone()
        return row


def around(messages: Tensor, num_byzantine: int, row: int) -> Tensor:
    """Weights `(n,)` of the mean over the n - f messages `(n, d)` nearest to that of one `row`."""
    check_matrix(messages)
    n, pivot = len(messages), messages[row]
    near = lowest_rows(messages, n - num_byzantine, lambda rows: distances_to(pivot.to(rows.dtype), rows))
    return mean_of(near, n)


def _check(n: int, f: int, pivot: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: the nearest n - f need n > 2 f")
    require(0 <= pivot < n, "pivot", pivot, f"between 0 and {n - 1}, one of the rows")
