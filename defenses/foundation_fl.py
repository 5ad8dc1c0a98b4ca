"""FoundationFL (Fang et al. 2025): the server adds copies of the message furthest from both extremes, then a rule.

    s_i = min(|g_i - g_max|, |g_i - g_min|)     g_max, g_min: the largest and smallest value in each coordinate

The message with the largest score is copied, and the copies stand beside the messages before the trimmed mean or the
median. The paper is "Do we really need to design new Byzantine-robust aggregation rules?" (NDSS 2025, arXiv
2501.17381). Of it the abstract was at hand; the score and the number of copies, half as many as messages, are from
CRYPTO-KU/FL-Byzantine-Library, `aggregators/foundation.py`, which quotes them, and not from the authors' code.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.protocol import check_messages
from bench.registry import register
from bench.rules import PreAggregation, distances_to


def extreme_scores(messages: Tensor) -> Tensor:
    """s_i `(n,)`, float64: the distance of each message of `(n, d)` from the nearer of both extremes."""
    check_messages(messages)
    extremes = messages.amax(dim=0), messages.amin(dim=0)
    return torch.minimum(*(distances_to(extreme, messages) for extreme in extremes))


def foundation_fl(messages: Tensor, num_synthetic: int | None = None) -> Tensor:
    """`(n + m, d)`: the messages `(n, d)` and m copies of the one with the largest score, of equal ones the first.

    m is n / 2 where it is None. Raises `ValueError` unless it is not negative and the messages are finite.
    """
    require(num_synthetic is None or num_synthetic >= 0, "num_synthetic", num_synthetic, "at least 0")
    chosen = messages[extreme_scores(messages).argmax()]
    copies = len(messages) // 2 if num_synthetic is None else num_synthetic
    return torch.cat([messages, chosen.expand(copies, -1)])


@register("defense", "foundation_fl")
class FoundationFL(PreAggregation):
    """FoundationFL before a rule, which assumes as many Byzantine messages as there are without the copies.

    Nothing keeps a Byzantine message from being the one that is copied: what is claimed is the rule's own share. Sign
    flips and inner products, whose messages are no extremes, are copied here, and win. Whether they would under the
    authors' own code nobody here knows.
    """

    rule: str = "trimmed_mean"
    num_synthetic: int | None = Field(default=None, ge=0)  # m

    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        return foundation_fl(messages, self.num_synthetic)

    def num_mixed(self, num_messages: int) -> int:
        return num_messages + (num_messages // 2 if self.num_synthetic is None else self.num_synthetic)
