"""The two plain kinds of aggregation rule, each with the d-sized work done once, fast and in bounded memory.

A row rule needs only inner products of the messages (`bench.rules.gram`) and answers with a weight for each client; a
coordinate rule looks at one coordinate over all clients. A rule's own file holds nothing but its idea.
"""

from abc import abstractmethod
from collections.abc import Iterable
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.base.blocks import LINE_BYTES, on_all_threads, transposed
from bench.base.device import on_gpu
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, check_messages
from bench.rules.gram import (
    DOUBLE_ERROR,
    checked_gram,
    decided,
    norms_of,
    squared_distances_from,
)

COORDINATE_BLOCK_BYTES = 2**19
"""A transposed block of coordinates that stays in a core's cache, beside what it was transposed from."""

GPU_NUMBERS = 2**27
"""Entries of messages that a GPU sorts at a time."""

SORTED_AT_ONCE = 512
"""Up to so many values a coordinate numpy sorts all of them faster than it finds one or two of a rank."""


Block = TypeVar("Block", np.ndarray, Tensor)
"""Values `(b, n)` of b coordinates, and what is made of them."""


class RowRule(Defense):
    """A rule whose aggregate is `weights(gram) @ messages`."""

    origin: ClassVar[bool] = False  # it asks how far messages are from zero: its Gram matrix has a last row for zero

    @abstractmethod
    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        """Weights `(n,)` of the messages from their `gram_matrix`, `(n, n)`, or `(n + 1, n + 1)` with the origin."""

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        """Weights `(n,)` of the messages `(n, d)`; for a rule to override that finds them without all inner products.

        Raises `ValueError` unless the messages are a finite, non-empty matrix.
        """
        return self.weights(checked_gram(messages, self.origin), num_byzantine)

    def is_plain(self) -> bool:
        """Whether the aggregate is `weights(gram) @ messages` and no more: then mixed messages need not be formed."""
        return type(self).aggregate is RowRule.aggregate

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        weights = self.weigh(delivered.messages, server.setting.num_byzantine)
        return server.global_model + apply_weights(weights, delivered.messages)


class ChoosingRule(RowRule):
    """A row rule that picks rows by order: ties are the rows' own, never those of rounded products."""

    @abstractmethod
    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        """`weights` from products with this relative error; raises `ContestedError` where it would choose."""

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return self.choose(gram, num_byzantine, DOUBLE_ERROR)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return decided(messages, lambda gram, error: self.choose(gram, num_byzantine, error), self.origin)


class NormRule(RowRule):
    """A row rule that looks at nothing but how long the messages are: one pass over them, no Gram matrix."""

    origin: ClassVar[bool] = True

    @abstractmethod
    def weights_by_norm(self, norms: Tensor, num_byzantine: int) -> Tensor:
        """Weights `(n,)` of the messages from their L2 norms `(n,)`."""

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return self.weights_by_norm(sqrt(squared_distances_from(gram, -1)[:-1]), num_byzantine)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return self.weights_by_norm(norms_of(messages), num_byzantine)


def names_of(server: ServerRound) -> Tensor:
    """The names `(k,)` of the delivered rows' senders; raises `ValueError` where the channel unlinked them."""
    if server.clients is None:
        raise ValueError("the server remembers clients, but nothing says whose message is whose")
    return server.clients


def mean_of(rows: Tensor, num_rows: int) -> Tensor:
    """Weights `(num_rows,)` of the mean over `rows`, indices; float64."""
    return torch.zeros(num_rows, dtype=torch.float64, device=rows.device).index_fill_(0, rows, 1 / len(rows))


def apply_weights(weights: Tensor, messages: Tensor) -> Tensor:
    """`weights @ messages` `(d,)`, for a rule's pure function; raises `ValueError` unless there is a weight a row."""
    fits = messages.dim() == 2 and weights.shape == messages.shape[:1]
    require(fits, "weights", tuple(weights.shape), f"one for each row of messages {tuple(messages.shape)}")
    return weights.to(messages.dtype) @ messages


def exact_sum(messages: Tensor) -> Tensor:
    """The exact sum `(d,)` of signs `(n, d)`; by blocks, because torch would first copy all int8 entries to int32."""
    if messages.dtype != torch.int8:
        return messages.sum(dim=0)
    return torch.stack([block.sum(dim=0, dtype=torch.int32) for block in messages.split(1024)]).sum(dim=0)


class CoordinateRule(Defense):
    """A rule that reduces each coordinate's values over the clients to one."""

    @abstractmethod
    def reduce(self, block: Block, num_byzantine: int) -> Block:
        """`(b,)` from a block `(b, n)`, each row one coordinate's values in the order that `ranks` asks for.

        The block is numpy's, or on a GPU torch's: only what both understand.
        """

    def ranks(self, num_messages: int) -> tuple[int, ...] | None:
        """The order statistics that `reduce` reads, at their sorted places; None for fully sorted rows."""
        return None

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + self.over_coordinates(delivered.messages, server.setting.num_byzantine)

    def over_coordinates(self, messages: Tensor, num_byzantine: int) -> Tensor:
        """`reduce` over all coordinates of `messages (n, d)`, block by block."""
        check_messages(messages)
        if on_gpu(messages):
            blocks = messages.split(max(1, GPU_NUMBERS // len(messages)), dim=1)
            return torch.cat([self.reduce(block.mT.sort(dim=1).values, num_byzantine) for block in blocks])
        values = messages.detach().numpy()
        num_messages, dim = values.shape
        ranks = self.ranks(num_messages)
        result = np.empty(dim, dtype=values.dtype)
        step = max(LINE_BYTES, COORDINATE_BLOCK_BYTES // num_messages) // values.itemsize

        def reduce_block(start: int) -> None:
            block = transposed(values[:, start : start + step])
            if ranks is None or num_messages <= SORTED_AT_ONCE:
                block.sort(axis=1)
            else:
                _place(block, ranks)
            result[start : start + step] = self.reduce(block, num_byzantine)

        on_all_threads(reduce_block, range(0, dim, step))
        return torch.from_numpy(result)


def _place(block: np.ndarray, ranks: Iterable[int]) -> None:
    """Put the order statistics of `ranks` at their sorted places in each row of `block (b, n)`.

    From the highest down, one at a time: numpy's fast selection takes a single rank.
    """
    end = block.shape[1]
    for rank in sorted(set(ranks), reverse=True):
        if rank == end - 1 and end < block.shape[1]:
            block[:, rank] = block[:, :end].max(axis=1)  # what was there is smaller, and nobody reads it
        else:
            block[:, :end].partition(rank, axis=1)
        end = rank
