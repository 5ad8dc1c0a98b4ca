"""Mean around the median (Xie et al. 2018): each coordinate's n - f values nearest to its median."""

import numpy as np
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting, check_matrix
from bench.registry import register
from bench.rules import Block, CoordinateRule


def mean_around_median(block: np.ndarray, kept: int) -> np.ndarray:
    """The mean `(b,)` of the `kept` values nearest to the median in each sorted row of `block (b, n)`.

    They lie side by side. From the `kept` smallest on, the smallest value makes room for the next larger one as long
    as that is nearer; of two at the same distance the smaller one stays. Twice the median is the sum of the two
    middle values, in float64, so that no rounding of float32 chooses.
    """
    n = block.shape[1]
    middle = block[:, (n - 1) // 2].astype(np.float64) + block[:, n // 2]
    chosen = block[:, :kept].copy()
    for start in range(0, n - kept, kept):
        out = slice(start, min(start + kept, n - kept))
        into = block[:, out.start + kept : out.stop + kept]
        nearer = block[:, out].astype(np.float64) + into < middle[:, None]
        width = out.stop - out.start
        chosen[:, :width] = np.where(nearer, into, chosen[:, :width])
    mean: np.ndarray = chosen.mean(axis=1)
    return mean


def nearest_to_the_median(block: Tensor, kept: int) -> Tensor:
    """The same by its definition, for a GPU, which sorts faster than it goes step by step."""
    n = block.shape[1]
    middle = block[:, (n - 1) // 2].double() + block[:, n // 2]
    away = (2 * block.double() - middle[:, None]).abs()
    return block.gather(1, away.argsort(dim=1, stable=True)[:, :kept]).mean(dim=1)


@register("defense", "meamed")
class Meamed(CoordinateRule):
    """The mean around the median with the suite's assumed f."""

    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def reduce(self, block: Block, num_byzantine: int) -> Block:
        kept = block.shape[1] - num_byzantine
        if isinstance(block, Tensor):
            return nearest_to_the_median(block, kept)
        return mean_around_median(block, kept)


def meamed(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mean around the median `(d,)` of `(n, d)`; raises `ValueError` unless 0 <= 2 f < n and all is finite."""
    check_matrix(messages)
    _check(len(messages), num_byzantine, "num_byzantine")
    return Meamed().over_coordinates(messages, num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    wanted = f"between 0 and {max(0, (n - 1) // 2)}: the mean around the median needs n > 2 f"
    require(0 <= 2 * f < n, argument, f, wanted)
