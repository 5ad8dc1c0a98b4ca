"""The two plain kinds of aggregation rule, each with the d-sized work done once, fast and in bounded memory.

A row rule needs only inner products of the messages and answers with a weight a client; a coordinate rule looks at one
coordinate over all clients. A rule's own file holds nothing but its idea.
"""

from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.blocks import LINE_BYTES, in_column_blocks, in_groups, per_thread, scratch, transposed
from bench.errors import require
from bench.protocol import Defense, Delivered, ServerRound, all_finite, check_finite, check_matrix, check_messages

GRAM_BLOCK = 4096
"""Coordinates whose products are added up in float32 before the sum goes on in float64."""

GRAM_NUMBERS = 2**22
"""Entries of messages whose blocks are multiplied at a time, at most."""

GRAM_CACHE_BYTES = 2**20
"""A core multiplies blocks of about this size at a time, centred: they stay in its cache."""

GRAM_ROWS = 128
"""Rows whose products are taken at a time, with themselves and the rows before them: the other half is the mirror."""

CANCELLATION = 1e-3
"""Below this share of the norms, a squared distance from float32 products is not trusted."""

CLOSE_PAIRS, PAIRS_AT_A_TIME = 2, 32
"""So many close pairs a row are measured one by one: attackers often send one message all alike."""

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
        """Weights `(n,)` of the messages `(n, d)`; for a rule to override that needs less than all inner products.

        Raises `ValueError` unless the messages are a finite, non-empty matrix.
        """
        return self.weights(checked_gram(messages, self.origin), num_byzantine)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        weights = self.weigh(delivered.messages, server.setting.num_byzantine)
        return server.global_model + apply_weights(weights, delivered.messages)


class NormRule(RowRule):
    """A row rule that looks at nothing but how long the messages are: one pass over them, no Gram matrix."""

    origin: ClassVar[bool] = True

    @abstractmethod
    def weights_by_norm(self, norms: Tensor, num_byzantine: int) -> Tensor:
        """Weights `(n,)` of the messages from their L2 norms `(n,)`."""

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return self.weights_by_norm(squared_distances(gram)[-1, :-1].sqrt(), num_byzantine)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        return self.weights_by_norm(norms_of(messages), num_byzantine)


def norms_of(messages: Tensor) -> Tensor:
    """L2 norms `(n,)`, float64, of the messages `(n, d)`; once more in float64 where a square overflows.

    Raises `ValueError` unless the messages are a finite, non-empty matrix.
    """
    check_matrix(messages)
    norms: Tensor = torch.linalg.vector_norm(messages, dim=1)
    if not all_finite(norms):
        check_finite(messages)
        norms = torch.linalg.vector_norm(messages, dim=1, dtype=torch.float64)
        _require_squares(norms)
    return norms.double()


def distances_to(point: Tensor, messages: Tensor) -> Tensor:
    """L2 distances `(n,)`, float64, of the messages `(n, d)` from `point (d,)`; in float64 where a square overflows.

    Raises `ValueError` unless the messages are a finite, non-empty matrix.
    """
    check_matrix(messages)
    groups = in_groups(messages)
    apart = torch.empty_like(groups[0])  # the first group is the largest; nothing cancels
    norms = [torch.linalg.vector_norm(torch.sub(rows, point, out=apart[: len(rows)]), dim=1) for rows in groups]
    distances = torch.cat(norms)
    if not all_finite(distances):
        check_finite(messages)
        if messages.dtype != torch.float64:
            return distances_to(point.double(), messages.double())
        _require_squares(distances)
    return distances.double()


def checked_gram(messages: Tensor, origin: bool = False) -> Tensor:
    """`gram_matrix`; raises `ValueError` unless the messages are a finite, non-empty matrix."""
    check_matrix(messages)
    gram = gram_matrix(messages, origin)
    if not all_finite(gram):
        check_finite(messages)
        _require_squares(gram)
    return gram


def _require_squares(products: Tensor) -> None:
    """Raise `ValueError` where finite messages give products in float64 that are not."""
    require(all_finite(products), "messages", "too large", "numbers whose squares add up in float64")


def gram_matrix(messages: Tensor, origin: bool = False) -> Tensor:
    """Inner products `(n, n)`, float64, of the messages `(n, d)` minus a centre of theirs.

    With `origin` the matrix has a row and a column more, the last, for the zero vector as if it were a message.

    Products are taken about the mean in the messages' own precision. A few pairs of rows that lie so close together,
    seen from there, that their distance would be rounding error are measured again in float64; of rows that are equal,
    as attackers' often are, there may be more. Where many pairs are close (all are, seen from a mean that one long row
    has carried off) or a square overflows, everything is taken again in float64 about the coordinate-wise median, which
    no minority can move far from the rest.
    """
    gram = _block_products(messages, None, origin)
    norms = gram.diagonal()
    sums = norms[:, None] + norms[None, :]
    close = (torch.sub(sums, gram, alpha=2) < CANCELLATION * sums).triu(1).nonzero()
    if len(close) <= CLOSE_PAIRS * len(messages) and all_finite(gram):
        i, j = close.unbind(dim=1)
        distances = _measured(messages, close)
        if int((distances > 0).sum()) <= len(messages) // 2:
            gram[i, j] = gram[j, i] = (norms[i] + norms[j] - distances) / 2
            return gram
    exact = messages.double()
    return _block_products(exact, exact.median(dim=0).values, origin)


def _measured(messages: Tensor, pairs: Tensor) -> Tensor:
    """Squared distances `(p,)`, float64, of pairs `(p, 2)` of rows i < j; j one too many is the origin."""
    found = [torch.empty(0, dtype=torch.float64, device=messages.device)]
    for some in pairs.split(PAIRS_AT_A_TIME):
        i, j = some.unbind(dim=1)
        others = messages[j.clamp(max=len(messages) - 1)].double() * (j < len(messages))[:, None]
        found.append(others.sub_(messages[i]).square_().sum(dim=1))
    return torch.cat(found)


def _block_products(messages: Tensor, centre: Tensor | None, origin: bool) -> Tensor:
    """Inner products `(n, n)`, float64, of the messages `(n, d)` minus `centre (d,)`, their mean where it is None."""
    n = len(messages) + origin
    gram = torch.zeros(n, n, dtype=torch.float64, device=messages.device)
    bounded = max(1, GRAM_NUMBERS // (n * GRAM_BLOCK))
    count = min(bounded, per_thread(n * GRAM_BLOCK * messages.element_size(), GRAM_CACHE_BYTES))
    room = scratch(messages, n, GRAM_BLOCK, count)
    for columns, raw in in_column_blocks(messages, GRAM_BLOCK, count):
        middle = (messages[:, columns].mean(dim=0) if centre is None else centre[columns]).view(len(raw), -1)
        blocks = room[: len(raw), :, : raw.shape[2]]
        torch.sub(raw, middle[:, None], out=blocks[:, : len(messages)])
        if origin:
            torch.neg(middle, out=blocks[:, -1])
        for row in range(0, n, GRAM_ROWS):
            upto = min(row + GRAM_ROWS, n)
            gram[row:upto, :upto] += (blocks[:, row:upto] @ blocks[:, :upto].mT).sum(dim=0, dtype=torch.float64)
    return gram.tril() + gram.tril(-1).mT


def squared_distances(gram: Tensor, diagonal: float = 0.0) -> Tensor:
    """Squared distances `(n, n)` between the rows behind a Gram matrix, with `diagonal` on the diagonal."""
    norms = gram.diagonal()
    distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp_(min=0)
    return distances.fill_diagonal_(diagonal)


def sum_of_smallest(values: Tensor, count: int) -> Tensor:
    """The sum `(n,)` of the `count` smallest values in each row of `(n, k)`; infinite ones count last."""
    if count == 0:
        return values.new_zeros(len(values))
    if values.device.type != "cpu":
        return values.topk(count, dim=1, largest=False, sorted=False).values.sum(dim=1)
    ordered = np.partition(values.numpy(), count - 1, axis=1)
    return torch.from_numpy(ordered[:, :count].sum(axis=1))


def mean_of(rows: Tensor, num_rows: int) -> Tensor:
    """Weights `(num_rows,)` of the mean over `rows`, indices; float64."""
    weights = torch.zeros(num_rows, dtype=torch.float64, device=rows.device)
    weights[rows] = 1 / len(rows)
    return weights


def apply_weights(weights: Tensor, messages: Tensor) -> Tensor:
    """`weights @ messages` `(d,)`, for a rule's pure function."""
    return weights.to(messages.dtype) @ messages


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
        if messages.device.type != "cpu":
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

        _on_all_threads(reduce_block, range(0, dim, step))
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


def _on_all_threads(work: Callable[[int], None], items: Sequence[int]) -> None:
    """Do the work on as many threads as torch may use; numpy lets go of the interpreter's lock while it sorts."""
    threads = min(torch.get_num_threads(), len(items))
    if threads == 1:
        for item in items:
            work(item)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, items):
            pass
