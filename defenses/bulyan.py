"""Bulyan (El Mhamdi et al. 2018): Krum chooses n - 2 f messages, whose mean around the median counts."""

import math

import torch
from torch import Tensor

from bench.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting
from bench.registry import register
from bench.rules import DOUBLE_ERROR, ContestedError, alike, decided, lowest, squared_distances, sum_of_smallest
from defenses.krum import score_error
from defenses.meamed import Meamed


def bulyan_selection(gram: Tensor, num_byzantine: int, error: float = DOUBLE_ERROR) -> Tensor:
    """Rows `(n - 2 f,)` in the order in which Krum takes them, one at a time, out of those that remain.

    Among n' that remain, Krum looks at n' - f - 2 neighbours, 0 at the least. With one or none of them several rows
    have the same score; the one nearest to all that remain is taken, of equally near ones the first. Sums are equal
    where they differ by no more than products of this relative error can; raises `ContestedError` where that error is
    not float64's, and decides.
    """
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    distances = squared_distances(gram, diagonal=math.inf)
    remaining, chosen = torch.arange(n, device=gram.device), []
    for left in range(n, 2 * f, -1):
        among = distances[remaining][:, remaining]
        best = _best(among, gram[remaining][:, remaining], max(0, left - f - 2), error)
        chosen.append(remaining[best])
        remaining = remaining[remaining != remaining[best]]
    return torch.stack(chosen)


def _best(distances: Tensor, gram: Tensor, neighbours: int, error: float) -> Tensor:
    """The row of lowest Krum score, of equal ones that nearest to all, of equally near ones the first."""
    tied = torch.arange(len(gram), device=gram.device)
    if neighbours:
        scores = sum_of_smallest(distances, neighbours)
        tied = torch.cat(lowest(scores, 1, score_error(scores, gram, neighbours, 2, error)))
    one_pair = neighbours == 1 and len(tied) == 2 and tied[1] == distances[tied[0]].argmin()
    if neighbours and not one_pair:
        _require_copies(tied, gram, error)
    to_all = sum_of_smallest(distances, len(gram) - 1)
    nearest = torch.cat(lowest(to_all[tied], 1, score_error(to_all, gram, len(gram) - 1, 2, error)[tied]))
    _require_copies(tied[nearest], gram, error)
    return tied[nearest[0]]


def _require_copies(rows: Tensor, gram: Tensor, error: float) -> None:
    """Raise `ContestedError` where rows that differ tie by products that are not float64's."""
    if error > DOUBLE_ERROR and len(rows) > 1 and not alike(gram, rows):
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

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + bulyan(delivered.messages, server.setting.num_byzantine)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine


def _check(n: int, f: int, argument: str) -> None:
    require(f >= 0 and n >= 4 * f + 3, argument, f, f"between 0 and {max(0, (n - 3) // 4)}: Bulyan needs n >= 4 f + 3")
