"""Bulyan (El Mhamdi et al. 2018): Krum chooses n - 2 f messages, whose mean around the median counts."""

import math

import torch
from torch import Tensor

from bench.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting
from bench.registry import register
from bench.rules import checked_gram, squared_distances, sum_of_smallest
from defenses.meamed import Meamed


def bulyan_selection(gram: Tensor, num_byzantine: int) -> Tensor:
    """Rows `(n - 2 f,)` in the order in which Krum takes them, one at a time, out of those that remain.

    Among n' that remain, Krum looks at n' - f - 2 neighbours, 0 at the least. With one or none of them several rows
    have the same score; the one nearest to all that remain is taken, so that the order of the rows decides nothing.
    """
    n, f = len(gram), num_byzantine
    _check(n, f, "num_byzantine")
    distances = squared_distances(gram, diagonal=math.inf)
    remaining, chosen = torch.arange(n, device=gram.device), []
    for left in range(n, 2 * f, -1):
        among = distances[remaining][:, remaining]
        scores = sum_of_smallest(among, max(0, left - f - 2))
        to_all = sum_of_smallest(among, left - 1)
        best = to_all.masked_fill(scores > scores.min(), math.inf).argmin()
        chosen.append(remaining[best])
        remaining = remaining[remaining != remaining[best]]
    return torch.stack(chosen)


def bulyan(messages: Tensor, num_byzantine: int) -> Tensor:
    """Bulyan `(d,)` of `(n, d)`: of the theta = n - 2 f chosen, the theta - 2 f values nearest to each median.

    Raises `ValueError` unless n >= 4 f + 3 and the messages are finite.
    """
    selection = bulyan_selection(checked_gram(messages), num_byzantine)
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
