"""Krum (Blanchard et al. 2017, section 3): the message whose n - f - 2 nearest others are nearest."""

import math

from pydantic import Field
from torch import Tensor

from bench.errors import require
from bench.protocol import Setting, check_messages
from bench.registry import register
from bench.rules import RowRule, apply_weights, gram_matrix, mean_of, squared_distances, sum_of_smallest


def krum_weights(gram: Tensor, num_byzantine: int, num_selected: int = 1) -> Tensor:
    """Weights `(n,)`: the mean over the rows with the smallest sums of squared distances to their nearest others."""
    n, f = len(gram), num_byzantine
    require(
        f >= 0 and n >= 2 * f + 3, "num_byzantine", f, f"between 0 and {max(0, (n - 3) // 2)}: Krum needs n >= 2 f + 3"
    )
    require(1 <= num_selected <= n, "num_selected", num_selected, f"between 1 and {n}")
    scores = sum_of_smallest(squared_distances(gram, diagonal=math.inf), n - f - 2)
    return mean_of(scores.topk(num_selected, largest=False).indices, n)


def krum(messages: Tensor, num_byzantine: int, num_selected: int = 1) -> Tensor:
    """Krum of `(n, d)`: `(d,)`; `num_selected` > 1 is Multi-Krum, the mean of the best rows.

    Raises `ValueError` unless n >= 2 f + 3, 1 <= num_selected <= n and the messages are finite.
    """
    check_messages(messages)
    return apply_weights(krum_weights(gram_matrix(messages), num_byzantine, num_selected), messages)


@register("defense", "krum")
class Krum(RowRule):
    """Krum with the suite's assumed f; more than one selected is Multi-Krum."""

    num_selected: int = Field(default=1, ge=1)

    def start(self, setting: Setting) -> None:
        n, f = setting.participants, setting.num_byzantine
        wanted = f"at most {(n - 3) // 2} of {n} participants for Krum, which needs n >= 2 f + 3"
        require(n >= 2 * f + 3, "assumed Byzantine clients", f, wanted)
        require(self.num_selected <= n, "num_selected", self.num_selected, f"at most {n}, the participants")

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return krum_weights(gram, num_byzantine, self.num_selected)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine
