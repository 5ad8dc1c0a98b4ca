"""Inner products and distances of messages, exact enough that no choice between messages is one of rounding errors."""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.base.blocks import in_column_blocks, in_groups, on_all_threads, per_thread, scratch
from bench.base.device import on_gpu
from bench.base.errors import require
from bench.protocol import all_finite, check_detached, check_finite, check_matrix

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

DOUBLE_ERROR = (4 + 2 * GRAM_BLOCK**0.5) * 2**-53
"""Relative error of an inner product in float64, at most: see `rounding`."""

DISTANCES_AT_ONCE = 2**16
"""Of a Gram matrix so many distances are made at a time: they stay in a core's cache while they are compared."""


Chosen = TypeVar("Chosen")


class ContestedError(Exception):
    """Rounding would choose; `pairs (p, 2)` of rows i < j are those whose distances matter, all where it is None."""

    def __init__(self, pairs: Tensor | None = None) -> None:
        super().__init__("rows are equal to within the rounding of their products")
        self.pairs = pairs


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

    Raises `ValueError` unless the messages are a finite, non-empty matrix, and the point as wide.
    """
    check_matrix(messages)
    require(point.shape == messages.shape[1:], "point", tuple(point.shape), f"of {messages.shape[1]} entries")
    check_detached(point, "point")
    groups = in_groups(messages)
    apart = torch.empty_like(groups[0])  # the first group is the largest; nothing cancels
    norms = [torch.linalg.vector_norm(torch.sub(rows, point, out=apart[: len(rows)]), dim=1) for rows in groups]
    distances = torch.cat(norms) if len(norms) > 1 else norms[0]
    if not all_finite(distances):
        check_finite(messages)
        if messages.dtype != torch.float64:
            return distances_to(point.double(), messages.double())
        _require_squares(distances)
    return distances.double()


def checked_gram(messages: Tensor, origin: bool = False) -> Tensor:
    """`gram_matrix`; raises `ValueError` unless the messages are a finite, non-empty matrix."""
    return _gram_and_error(messages, origin)[0]


def rounding(dtype: torch.dtype, summed: int) -> float:
    """Relative error, of |x| |y|, of an inner product whose `summed` terms are added up in this precision.

    Roundings of u each add up as 2 sqrt(summed) u (Higham and Mary 2019, "A new approach to probabilistic rounding
    error analysis"); a few more are the centre, the product itself and the distance made of it.
    """
    return (4 + 2 * math.sqrt(summed)) * torch.finfo(dtype).eps / 2


def decided(messages: Tensor, choose: Callable[[Tensor, float], Chosen], origin: bool = False) -> Chosen:
    """`choose(gram, error)` on products whose rounding decides nothing: taken again where it raises `ContestedError`.

    The error is the relative one of an inner product; at `DOUBLE_ERROR` nothing is contested, and what is equal to
    within it is a tie. Raises `ValueError` as `checked_gram`.
    """
    gram, error = _gram_and_error(messages, origin)
    try:
        return choose(gram, error)
    except ContestedError as contest:
        pairs = contest.pairs
    if pairs is None or len(pairs) > CLOSE_PAIRS * len(messages):
        return choose(_block_products(messages.double(), None, origin), DOUBLE_ERROR)  # no row has carried the mean off
    gram = gram.clone()
    _set_distances(gram, pairs, _measured(messages, pairs))
    return choose(gram, DOUBLE_ERROR)


def _gram_and_error(messages: Tensor, origin: bool) -> tuple[Tensor, float]:
    check_matrix(messages)
    gram = _quick_gram(messages, origin)
    if gram is not None:
        summed = min(messages.shape[1], GRAM_BLOCK)
        return gram, max(DOUBLE_ERROR, rounding(messages.dtype, summed))
    check_finite(messages)
    gram = _exact_gram(messages, origin)
    _require_squares(gram)
    return gram, DOUBLE_ERROR


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
    no minority can move far from the rest. Raises `ValueError` unless the messages are a non-empty matrix.
    """
    check_matrix(messages)
    gram = _quick_gram(messages, origin)
    return _exact_gram(messages, origin) if gram is None else gram


def _quick_gram(messages: Tensor, origin: bool) -> Tensor | None:
    """`gram_matrix` about the mean; None where too many pairs are close or a square overflows."""
    gram = _block_products(messages, None, origin)
    close = _close_pairs(gram) if all_finite(gram) else None
    if close is None or len(close) > CLOSE_PAIRS * len(messages):
        return None
    if len(close):
        distances = _measured(messages, close)
        if int((distances > 0).sum()) > len(messages) // 2:
            return None
        _set_distances(gram, close, distances)
    return gram


def _set_distances(gram: Tensor, pairs: Tensor, distances: Tensor) -> None:
    """Change the products of `pairs (p, 2)` so that they give these squared distances `(p,)`."""
    i, j = pairs.unbind(dim=1)
    norms = gram.diagonal()
    gram[i, j] = gram[j, i] = (norms[i] + norms[j] - distances) / 2


def _exact_gram(messages: Tensor, origin: bool) -> Tensor:
    """`gram_matrix` in float64, about the coordinate-wise median."""
    exact = messages.double()
    return _block_products(exact, exact.median(dim=0).values, origin)


def _close_pairs(gram: Tensor) -> Tensor:
    """Pairs `(p, 2)` of rows i < j whose distance, from these finite products, would be rounding error."""
    if on_gpu(gram):
        return _close_pairs_at_once(gram)
    products = gram.numpy()
    norms, groups = products.diagonal().copy(), _row_groups(len(products))
    result: list[np.ndarray] = [np.empty(0)] * len(groups)

    def look(index: int) -> None:
        rows = groups[index]
        sums = norms[rows, None] + norms[rows.start :]
        close = sums - 2 * products[rows, rows.start :] < CANCELLATION * sums
        close.reshape(-1)[:: close.shape[1] + 1] = False  # with themselves
        pairs = np.argwhere(close) if close.any() else np.empty((0, 2), dtype=np.intp)
        result[index] = pairs[pairs[:, 0] < pairs[:, 1]] + rows.start

    on_all_threads(look, range(len(groups)))
    return torch.from_numpy(result[0] if len(result) == 1 else np.concatenate(result))


def _close_pairs_at_once(gram: Tensor) -> Tensor:
    """The same for a GPU, which has room for some matrices like it, and would wait for the transfer."""
    sums = gram.diagonal()[:, None] + gram.diagonal()
    return (torch.sub(sums, gram, alpha=2) < CANCELLATION * sums).triu(1).nonzero()


def _row_groups(num_rows: int) -> list[slice]:
    """The rows of a square matrix in groups of about `DISTANCES_AT_ONCE` entries."""
    size = max(1, DISTANCES_AT_ONCE // num_rows)
    return [slice(start, min(start + size, num_rows)) for start in range(0, num_rows, size)]


def _measured(messages: Tensor, pairs: Tensor) -> Tensor:
    """Squared distances `(p,)`, float64, of pairs `(p, 2)` of rows i < j; j one too many is the origin."""
    results = [torch.empty(0, dtype=torch.float64, device=messages.device)]
    for some in pairs.split(PAIRS_AT_A_TIME):
        i, j = some.unbind(dim=1)
        others = messages[j.clamp(max=len(messages) - 1)].double() * (j < len(messages))[:, None]
        results.append(others.sub_(messages[i]).square_().sum(dim=1))
    return torch.cat(results)


def _block_products(messages: Tensor, centre: Tensor | None, origin: bool) -> Tensor:
    """Inner products `(n, n)`, float64, of the messages `(n, d)` minus `centre (d,)`, their mean where it is None."""
    n = len(messages) + origin
    if n <= GRAM_ROWS and messages.shape[1] <= GRAM_BLOCK:
        return _mirrored(_one_product(messages, messages.mean(dim=0) if centre is None else centre, origin))
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
    return _mirrored(gram)


def _one_product(messages: Tensor, centre: Tensor, origin: bool) -> Tensor:
    """`_block_products` where there is one block: with less around it the sum of the same products."""
    centred = messages - centre
    if origin:
        centred = torch.cat([centred, -centre[None]])
    block = centred.unsqueeze(0)  # as in the other blocks, a batch: a single matrix is multiplied in another order
    return (block @ block.mT)[0].double()


def _mirrored(gram: Tensor) -> Tensor:
    """`gram (n, n)` with its lower triangle copied over the upper one."""
    if len(gram) <= GRAM_ROWS:
        return gram.tril() + gram.tril(-1).mT
    for row in range(0, len(gram), GRAM_ROWS):
        rows = slice(row, row + GRAM_ROWS)
        gram[:row, rows] = gram[rows, :row].mT
        square = gram[rows, rows]
        square.copy_(square.tril() + square.tril(-1).mT)
    return gram


def check_square(matrix: Tensor, argument: str = "gram") -> None:
    """Raise `ValueError` unless it is a detached, non-empty square matrix `(n, n)`."""
    good = matrix.dim() == 2 and len(matrix) == matrix.shape[1] > 0
    require(good, argument, tuple(matrix.shape), "a square (n, n) tensor")
    check_detached(matrix, argument)


def squared_distances(gram: Tensor, diagonal: float = 0.0) -> Tensor:
    """Squared distances `(n, n)` between the rows behind a Gram matrix, with `diagonal` on the diagonal."""
    check_square(gram)
    norms = gram.diagonal().contiguous()
    distances = (norms[:, None] + norms[None, :] - 2 * gram).clamp_(min=0)
    return distances.fill_diagonal_(diagonal)


def squared_distances_from(gram: Tensor, row: int) -> Tensor:
    """Squared distances `(n,)` of the rows behind a Gram matrix from one of them: a row of `squared_distances`."""
    check_square(gram)
    norms = gram.diagonal().contiguous()
    distances = (norms[row] + norms - 2 * gram[row]).clamp_(min=0)
    distances[row] = 0.0
    return distances


def copies(gram: Tensor) -> Tensor:
    """For each row behind a Gram matrix the first row that it equals, to the rounding of float64: indices `(n,)`."""
    norms = gram.diagonal()
    equal = squared_distances(gram) <= 4 * DOUBLE_ERROR * (norms[:, None] + norms)
    first: Tensor = equal.byte().argmax(dim=1)  # of equal ones
    return first


def alike(gram: Tensor, rows: Tensor) -> bool:
    """Whether these rows, at least one, behind a Gram matrix are equal, to the rounding of float64."""
    among = gram[rows][:, rows]
    norms = among.diagonal()
    return bool((norms + norms[0] - 2 * among[0] <= 4 * DOUBLE_ERROR * (norms + norms[0])).all())


def pairs_of(rows: Tensor, num_rows: int) -> Tensor | None:
    """All pairs `(p, 2)`, i < j, of one of `rows` and any of `num_rows`; None where they are too many to measure."""
    if len(rows) > CLOSE_PAIRS:
        return None
    others = torch.arange(num_rows, device=rows.device).expand(len(rows), -1)
    pairs = torch.stack([rows[:, None].expand_as(others), others], dim=2).flatten(0, 1)
    distinct: Tensor = pairs[pairs[:, 0] != pairs[:, 1]].sort(dim=1).values.unique(dim=0)
    return distinct


def lowest(values: Tensor, count: int, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Indices of those of the `count` lowest values `(n,)` that are so for sure, and of those that tie for the rest.

    Values tie with the border where they differ by no more than both tolerances `(n,)`; ties are in their order.
    """
    border = values.kthvalue(count)
    if on_gpu(values):
        width = tolerance + tolerance[border.indices]
        tied = (values == border.values) | ((values - border.values).abs() <= width)
        return ((values < border.values) & ~tied).nonzero()[:, 0], tied.nonzero()[:, 0]
    ordered, off, at = (
        values.detach().numpy(),
        tolerance.detach().numpy(),
        int(border.indices),
    )  # numpy: each step costs less
    with np.errstate(all="ignore"):
        last = ordered[at]
        ties = (ordered == last) | (np.abs(ordered - last) <= off + off[at])
        sure = ((ordered < last) & ~ties).nonzero()[0]
    return torch.from_numpy(sure), torch.from_numpy(ties.nonzero()[0])


def first_lowest(values: Tensor, count: int, tolerance: Tensor) -> Tensor:
    """Indices `(count,)` of the lowest values `(n,)`; of those that are equal to within the tolerance the first."""
    sure, tied = lowest(values, count, tolerance)
    return torch.cat([sure, tied[: count - len(sure)]])


def lowest_rows(messages: Tensor, count: int, lengths: Callable[[Tensor], Tensor]) -> Tensor:
    """Indices `(count,)` of the messages `(n, d)` of smallest `lengths(messages) (n,)`; of equal ones the first.

    Those that tie in their own precision are measured again in float64.
    """

    def split(values: Tensor, places: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
        return lowest(values, places, rounding(dtype, messages.shape[1]) * values)

    sure, tied = split(lengths(messages), count, messages.dtype)
    places = count - len(sure)
    if len(tied) > places and messages.dtype != torch.float64:
        nearer, equal = split(lengths(messages[tied].double()), places, torch.float64)
        tied = tied[torch.cat([nearer, equal])]
    return torch.cat([sure, tied[:places]])


def over_distances(gram: Tensor, reduce: Callable[[np.ndarray], np.ndarray], diagonal: float = 0.0) -> Tensor:
    """What `reduce` makes of each row of `squared_distances`, `(n, ...)`: it gets some rows `(b, n)` at a time.

    All of the distances are never there at once, and the groups of rows are shared out to all threads.
    """
    return over_distances_of(gram, lambda distances, _: reduce(distances), diagonal)


def over_distances_of(gram: Tensor, reduce: Callable[[np.ndarray, slice], np.ndarray], diagonal: float = 0.0) -> Tensor:
    """`over_distances` for a `reduce` that is told which rows it gets."""
    check_square(gram)
    products = gram.cpu().numpy()
    norms, groups = products.diagonal().copy(), _row_groups(len(products))
    result: list[np.ndarray] = [np.empty(0)] * len(groups)

    def reduce_group(index: int) -> None:
        rows = groups[index]
        distances = norms[rows, None] + norms
        distances -= 2 * products[rows]
        np.maximum(distances, 0, out=distances)
        distances.reshape(-1)[rows.start :: len(norms) + 1] = diagonal
        result[index] = reduce(distances, rows)

    on_all_threads(reduce_group, range(len(groups)))
    return torch.from_numpy(result[0] if len(result) == 1 else np.concatenate(result)).to(gram.device)


def sum_of_smallest(values: Tensor, count: int) -> Tensor:
    """The sum `(n,)` of the `count` smallest values in each row of `(n, k)`; infinite ones count last."""
    require(values.dim() == 2, "values", tuple(values.shape), "an (n, k) tensor")
    check_detached(values, "values")
    if on_gpu(values):
        return _smallest_sums_at_once(values, count)
    return torch.from_numpy(_smallest_sums(values.numpy(), count))


def _smallest_sums_at_once(values: Tensor, count: int) -> Tensor:
    """The same for a GPU."""
    return values.topk(count, dim=1, largest=False, sorted=False).values.sum(dim=1)


def nearest_sums(gram: Tensor, count: int, power: int = 2) -> Tensor:
    """Of every row behind a Gram matrix: the sum `(n,)` of its distances to `power`, to its `count` nearest others."""
    if on_gpu(gram):
        return sum_of_smallest(squared_distances(gram, diagonal=math.inf) ** (power / 2), count)

    def sums(distances: np.ndarray) -> np.ndarray:
        return _smallest_sums(distances if power == 2 else distances ** (power / 2), count)

    return over_distances(gram, sums, diagonal=math.inf)


def _smallest_sums(values: np.ndarray, count: int) -> np.ndarray:
    if count == 0:
        return np.zeros(len(values), dtype=values.dtype)
    ordered = np.partition(values, count - 1, axis=1)
    sums: np.ndarray = ordered[:, :count].sum(axis=1)
    return sums
