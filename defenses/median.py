"""Coordinate-wise median (Yin et al. 2018)."""

from torch import Tensor

from bench.registry import register
from bench.rules import Block, CoordinateRule


@register("defense", "median")
class Median(CoordinateRule):
    """Each coordinate's middle value; the mean of the two middle ones for even n."""

    breakdown = 0.5

    def ranks(self, num_messages: int) -> tuple[int, ...]:
        return (num_messages - 1) // 2, num_messages // 2

    def reduce(self, block: Block, num_byzantine: int) -> Block:
        low, high = self.ranks(block.shape[1])
        return block[:, low] / 2 + block[:, high] / 2


def coordinate_median(messages: Tensor) -> Tensor:
    """The median `(d,)` of `(n, d)`, coordinate by coordinate; raises `ValueError` where empty or not finite."""
    return Median().over_coordinates(messages, num_byzantine=0)
