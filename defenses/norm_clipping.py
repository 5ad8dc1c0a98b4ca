"""Norm clipping (Sun et al. 2019): the mean of the updates, each scaled down to a common bound on its norm.

The paper's weak differential privacy, Gaussian noise on that mean, is not part of it here.
"""

import math

from pydantic import Field
from torch import Tensor

from bench.base.errors import require
from bench.registry import register
from bench.rules import NormRule, apply_weights
from bench.rules.gram import norms_of


def norm_clipping_weights(norms: Tensor, bound: float = 3.0) -> Tensor:
    """Weights `(n,)`: 1 / max(1, |x_i| / bound), over n."""
    require(0 < bound < math.inf, "bound", bound, "positive and finite")
    return bound / norms.clamp(min=bound) / len(norms)


def norm_clipping(messages: Tensor, *, bound: float = 3.0) -> Tensor:
    """The mean `(d,)` of the rows of `(n, d)`, none longer than `bound`.

    Raises `ValueError` unless the bound is positive and the messages are finite.
    """
    return apply_weights(norm_clipping_weights(norms_of(messages), bound), messages)


@register("defense", "norm_clipping")
class NormClipping(NormRule):
    """Norm clipping by the server. It bounds what a client can do, and claims to stand no number of them."""

    bound: float = Field(default=3.0, gt=0)

    def weights_by_norm(self, norms: Tensor, num_byzantine: int) -> Tensor:
        return norm_clipping_weights(norms, self.bound)
