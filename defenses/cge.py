"""Comparative gradient elimination (Gupta and Vaidya 2020; Liu, Gupta and Vaidya 2021): without the f longest messages.

The papers add the n - f shortest messages up, with step sizes to suit; as in all public implementations, this is their
mean.
"""

from typing import ClassVar

from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting, check_matrix
from bench.registry import register
from bench.rules import NormRule, apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, first_lowest, lowest_rows, norms_of


def cge_weights(norms: Tensor, num_byzantine: int) -> Tensor:
    """Weights `(n,)`: the mean over the n - f rows of smallest norm; of those equal in float64 the first."""
    _check(len(norms), num_byzantine, "num_byzantine")
    return mean_of(first_lowest(norms, len(norms) - num_byzantine, DOUBLE_ERROR * norms), len(norms))


def cge(messages: Tensor, num_byzantine: int) -> Tensor:
    """The mean `(d,)` of the n - f shortest rows of `(n, d)`; of equally long ones the first.

    Raises `ValueError` unless 0 <= 2 f < n and the messages are finite.
    """
    return apply_weights(CGE().weigh(messages, num_byzantine), messages)


@register("defense", "cge")
class CGE(NormRule):
    """Comparative gradient elimination with the suite's assumed f."""

    version: ClassVar[int] = 2  # of rows that tie the first count
    breakdown = "assumed"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")

    def weights_by_norm(self, norms: Tensor, num_byzantine: int) -> Tensor:
        return cge_weights(norms, num_byzantine)

    def weigh(self, messages: Tensor, num_byzantine: int) -> Tensor:
        check_matrix(messages)
        n = len(messages)
        _check(n, num_byzantine, "num_byzantine")
        return mean_of(lowest_rows(messages, n - num_byzantine, norms_of), n)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """Never a third: the bound of Liu et al., 1 - f/n (1 + 2 mu/gamma) > 0, has mu >= gamma."""
        return (
            super().tolerates(fraction, setting) and 3 * round(fraction * setting.participants) < setting.participants
        )


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: elimination by norm needs n > 2 f")
