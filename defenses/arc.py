"""Adaptive robust clipping (Allouah et al. 2025): the longest messages are cut to the next length."""

import torch
from torch import Tensor

from bench.base.blocks import in_groups
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Setting, all_finite, check_matrix
from bench.registry import register
from bench.rules import Mixing
from bench.rules.gram import norms_of, squared_distances

CUT_NUMBERS = 2**16
"""Entries that are multiplied at a time, in float64: they stay in a core's cache."""


def arc_scales(norms: Tensor, num_byzantine: int) -> Tensor:
    """What each message is multiplied by `(n,)`, from their norms `(n,)`.

    The k = floor(2 f / n (n - f)) longest are cut to the length of the one that follows them; k in whole numbers, as
    2 * (f / n) * (n - f) can round below one.
    """
    n, f = len(norms), num_byzantine
    _check(n, f, "num_byzantine")
    c = norms.topk(2 * f * (n - f) // n + 1).values[-1]
    return torch.where(norms > c, c / norms, 1.0)


def arc(messages: Tensor, num_byzantine: int) -> Tensor:
    """The clipped messages `(n, d)` of `(n, d)`; raises `ValueError` unless 0 <= f < n / 2 and all is finite."""
    check_matrix(messages)
    clipped = torch.empty_like(messages)
    pairs = zip(in_groups(messages), in_groups(clipped), strict=True)
    norms = torch.cat([torch.linalg.vector_norm(into.copy_(rows), dim=1) for rows, into in pairs])
    scales = arc_scales(norms.double() if all_finite(norms) else norms_of(messages), num_byzantine)
    rows = (scales < 1).nonzero()[:, 0]
    for some in rows.split(max(1, CUT_NUMBERS // messages.shape[1])):
        clipped[some] = (messages[some].double() * scales[some, None]).to(messages.dtype)
    return clipped


@register("defense", "arc")
class ARC(Mixing):
    """ARC before another rule, with the suite's assumed f; a clipped message lies between itself and the origin."""

    origin = True

    rule: str = "trimmed_mean"

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, "assumed Byzantine clients")
        super().start(setting)

    def mix(self, gram: Tensor, num_byzantine: int) -> Tensor:
        scales = arc_scales(sqrt(squared_distances(gram)[-1, :-1]), num_byzantine)
        return torch.cat([scales.diag(), (1 - scales)[:, None]], dim=1)

    def mixed(self, messages: Tensor, num_byzantine: int, generator: torch.Generator) -> Tensor:
        return arc(messages, num_byzantine)


def _check(n: int, f: int, argument: str) -> None:
    require(0 <= 2 * f < n, argument, f, f"between 0 and {max(0, (n - 1) // 2)}: ARC needs n > 2 f")
