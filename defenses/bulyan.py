"""Bulyan (El Mhamdi et al. 2018): Krum chooses n - 2 f messages, whose mean around the median counts."""

import math

import numpy as np
import torch
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting
from bench.registry import register
from bench.rules.gram import DOUBLE_ERROR, ContestedError, alike, check_square, decided, squared_distances
from defenses.krum import score_error
from defenses.meamed import Meamed


def bulyan_selection(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Rows `(n - 2 f,)` in the order in which Krum takes them, one at a time, out of those that remain.

    Among n' that remain, Krum looks at n' - f - 2 neighbours, 0 at the least. With one or none of them several rows
    have the same score; the one nearest to all that remain is taken, of equally near ones the first. Sums are equal
    where they differ by no more than products of this relative error can; raises `ContestedError` where that error is
    not float64's, and decides.
    """
    check_square(gram)
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    distances = squared_distances(gram, diagonal=math.inf).cpu().numpy()
    squares = gram.diagonal().cpu().numpy()
    remaining, chosen = np.arange(n), []
    for left in range(n, 2 * f, -1):
        among, lengths = distances[np.ix_(remaining, remaining)], squares[remaining]
        neighbours = max(0, left - f - 2)
        tied = _least(among, lengths, neighbours, error) if neighbours else np.arange(left)
        one_pair = neighbours == 1 and len(tied) == 2 and tied[1] == among[tied[0]].argmin()
        if neighbours and not one_pair:
            _require_copies(remaining[tied], gram, error)
        if len(tied) > 1:
            nearest = _least(among[tied], lengths[tied], left - 1, error)
            _require_copies(remaining[tied[nearest]], gram, error)
            tied = tied[nearest]
        chosen.append(remaining[tied[0]])
        remaining = np.delete(remaining, tied[0])
    return torch.from_numpy(np.array(chosen)).to(gram.device)


def _least(distances: np.ndarray, squares: np.ndarray, count: int, error: float) -> np.ndarray:
    """The rows of `distances (k, n)` whose sum of the `count` smallest is the least, or equal to it; in their order."""
    scores = np.partition(distances, count - 1, axis=1)[:, :count].sum(axis=1)
    off = score_error(scores, squares, count, 2, error)
    best = scores.argmin()
    return np.flatnonzero(scores <= scores[best] + off + off[best])


def _require_copies(rows: np.ndarray, gram: Tensor, error: float) -> None:
    """Raise `ContestedError` where rows that differ tie by products that are not float64's."""
    if error > DOUBLE_ERROR and len(rows) > 1 and not alike(gram, torch.from_numpy(rows).to(gram.device)):
        raise ContestedError


def bulyan(messages: Tensor, num_byzantine: int) -> Tensor:
    """Bulyan `(d,)` of `(n, d)`: of the theta = n - 2 f chosen, the theta - 2 f values nearest to each median.

    Raises `ValueError` unless n >= 4 f + 3 and the messages are finite.
    """
    selection = decided(messages, lambda gram, error: bulyan_selection(gram, num_byzantine, error))
    return Meamed().over_coordinates(messages[selection], 2 * num_byzantine)


@register("defense", "bulyan")
class Bulyan(Defense):
    """Bulyan over Krum with the suite's assumed f."""

    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + bulyan(delivered.messages, server.setting.num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    require(f >= 0 and n >= 4 * f + 3, argument, f, f"between 0 and {max(0, (n - 3) // 4)}: Bulyan needs n >= 4 f + 3")
