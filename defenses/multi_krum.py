"""Multi-Krum (Blanchard et al. 2017): the mean of the rows with the best Krum scores, n - f by default.

All rows are scored once. The paper's text on arXiv (1703.02757, section 6) has m-Krum, which scores what remains again
after each choice, and names this form as the alternative.
"""

from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import Setting, check_matrix
from bench.registry import register
from bench.rules import ChoosingRule
from defenses.krum import Variant, check_setting, krum, krum_weights


def multi_krum(
    messages: Tensor, num_byzantine: int, num_selected: int | None = None, variant: Variant = "paper"
) -> Tensor:
    """Multi-Krum of `(n, d)`: `(d,)`, of `num_selected` rows, n - f where it is None (the paper's m is free).

    Raises `ValueError` unless n >= 2 f + 3, 1 <= num_selected <= n and the messages are finite.
    """
    check_matrix(messages)
    selected = len(messages) - num_byzantine if num_selected is None else num_selected
    return krum(messages, num_byzantine, selected, variant)


@register("defense", "multi_krum")
class MultiKrum(ChoosingRule):
    """Multi-Krum with the suite's assumed f."""

    version: ClassVar[int] = 2  # of rows that tie the first count
    breakdown = "assumed"

    num_selected: int | None = Field(default=None, ge=1)
    variant: Variant = "paper"

    def start(self, setting: Setting) -> None:
        n = setting.participants
        check_setting(setting)
        require((self.num_selected or 1) <= n, "num_selected", self.num_selected, f"at most {n}, the participants")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return krum_weights(gram, num_byzantine, self.num_selected or len(gram) - num_byzantine, self.variant, error)
