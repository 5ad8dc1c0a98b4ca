"""Coordinate-wise trimmed mean (Yin et al. 2018): the f largest and f smallest values are left out."""

from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting, check_matrix
from bench.registry import register
from bench.rules import Block, CoordinateRule


@register("defense", "trimmed_mean")
class TrimmedMean(CoordinateRule):
    """Each coordinate's mean over the n - 2 f values in the middle; f is the assumed number, beta n in the paper."""

    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def reduce(self, block: Block, num_byzantine: int) -> Block:
        middle: Block = block[:, num_byzantine : block.shape[1] - num_byzantine].mean(1)
        return middle


def trimmed_mean(messages: Tensor, num_byzantine: int) -> Tensor:
    """The trimmed mean `(d,)` of `(n, d)`; raises `ValueError` unless 0 <= 2 f < n and the messages are finite."""
    check_matrix(messages)
    _check(len(messages), num_byzantine, "num_byzantine")
    return TrimmedMean().over_coordinates(messages, num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: the trimmed mean needs n > 2 f")
