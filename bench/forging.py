"""What attacks that forge messages share: moments of the honest ones, copies of one row, searches against a rule."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from bench.errors import require
from bench.protocol import Alphabet
from bench.threat import ByzantineView

BLOCK_BYTES = 2**19
"""Coordinates of all messages whose moments are taken at a time: they stay in a core's cache."""

Rule = Callable[[Tensor], Tensor]
"""What the server makes `(d,)` of all messages `(h + f, d)` of a round, the honest ones first."""


def check_honest(honest: Tensor, num_byzantine: int, at_least: int = 1) -> None:
    """Raise `ValueError` unless `honest` is an `(h, d)` matrix of `at_least` rows and `num_byzantine` a number."""
    good = honest.dim() == 2 and len(honest) >= at_least and honest.shape[1] > 0
    require(good, "honest", tuple(honest.shape), f"an (h, d) tensor with at least {at_least} rows")
    require(num_byzantine >= 0, "num_byzantine", num_byzantine, "at least 0")


def copies(row: Tensor, num_byzantine: int) -> Tensor:
    """`row (d,)` for each Byzantine client, `(f, d)`: one row in memory, not to be written into."""
    return row.expand(num_byzantine, -1)


def fit(forged: Tensor, alphabet: Alphabet) -> Tensor:
    """Forged reals `(f, d)` as messages: where the alphabet is ternary, their signs (as errata D15 has it)."""
    return torch.sign(forged).to(torch.int8) if alphabet is Alphabet.TERNARY else forged


def deployed(view: ByzantineView) -> Rule:
    """The server's rule as omniscient attackers play candidates through it; reals are made messages first."""
    aggregate = view.aggregate
    assert aggregate is not None
    return lambda messages: aggregate(fit(messages, view.alphabet))


def moments(honest: Tensor, ddof: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation `(d,)` of each coordinate over the rows; the sum of squares is over h - ddof."""
    require(0 <= ddof < len(honest), "ddof", ddof, f"between 0 and {len(honest) - 1}, below the number of rows")
    h, d = honest.shape
    mean, squares = honest.new_empty(d), honest.new_empty(d)
    step = min(d, max(1, BLOCK_BYTES // (h * honest.element_size())))
    scratch = honest.new_empty(h, step)  # fresh pages cost more than the arithmetic
    for start in range(0, d, step):
        at = slice(start, start + step)
        torch.mean(honest[:, at], dim=0, out=mean[at])
        centred = torch.sub(honest[:, at], mean[at], out=scratch[:, : len(mean[at])])
        torch.sum(centred.square_(), dim=0, out=squares[at])
    return mean, squares.div_(h - ddof).sqrt_()


def deviation(aggregate: Rule, honest: Tensor) -> Callable[[Tensor], float]:
    """Of forged messages `(f, d)`: how far they move the rule's output from the mean of the honest ones (L2).

    What the attacks of Fang et al. 2020, Shejwalkar and Houmansadr 2021 and Allouah et al. 2023 maximise. Infinite
    where the output is not finite.
    """
    mean = honest.mean(dim=0)

    def measure(forged: Tensor) -> float:
        moved = float(torch.linalg.vector_norm(aggregate(torch.cat([honest, forged])) - mean))
        return moved if math.isfinite(moved) else math.inf

    return measure


def line_search(score: Callable[[float], float], low: float, high: float, points: int) -> float:
    """The factor with the highest score of 2 `points`: a geometric grid, then a finer one around its best point."""
    require(0 < low < high < math.inf, "low, high", (low, high), "positive, finite and in order")
    require(points >= 2, "points", points, "at least 2")
    grid = _geometric(low, high, points)
    scored = {factor: score(factor) for factor in grid}
    best = grid.index(max(scored, key=scored.__getitem__))
    finer = _geometric(grid[max(best - 1, 0)], grid[min(best + 1, points - 1)], points + 2)[1:-1]
    scored |= {factor: score(factor) for factor in finer}
    return max(scored, key=scored.__getitem__)


def _geometric(low: float, high: float, points: int) -> list[float]:
    return [low * (high / low) ** (k / (points - 1)) for k in range(points)]
