"""How well scores tell members from others: the ROC curve, its area, and the true positives at few false ones."""

import torch
from torch import Tensor

from bench.base.errors import require

ROUNDING = 1e-9
FIRST, STEP = 10, 1.25
"""A thinned curve has every number of false positives up to the first, and then grows by this factor."""


def auc(members: Tensor, others: Tensor) -> float:
    """The chance that a member `(M,)` scores above another one `(N,)`, ties counted half: the area under the curve."""
    ordered = others.sort().values
    below, up_to = (torch.searchsorted(ordered, members, right=right) for right in (False, True))
    return float((below + up_to).sum()) / (2 * len(members) * len(others))


def true_positives(members: Tensor, others: Tensor, allowed: int) -> float:
    """The share of members `(M,)` above a threshold that at most so many of the others `(N,)` pass."""
    if allowed >= len(others):
        return 1.0
    threshold = others.sort(descending=True).values[allowed]
    return float((members > threshold).double().mean())


def true_positive_rate(members: Tensor, others: Tensor, rate: float) -> float:
    """The same at a false positive rate of at most `rate`; below 1 / N that is no false positive at all.

    Raises `ValueError` unless the rate is between 0 and 1.
    """
    require(0 <= rate <= 1, "rate", rate, "between 0 and 1")
    return true_positives(members, others, int(rate * len(others) + ROUNDING))


def curve(members: Tensor, others: Tensor) -> list[tuple[float, float]]:
    """(false, true) positive rates at a few dozen thresholds, the first without a false positive, the last (1, 1)."""
    total = len(others)
    return [(round(k / total, 6), round(true_positives(members, others, k), 6)) for k in _thinned(total)]


def _thinned(total: int) -> list[int]:
    """Numbers of false positives from 0 to all, evenly spaced in logarithms beyond the first ones."""
    results = list(range(min(FIRST, total)))
    value = float(FIRST)
    while value < total:
        results.append(int(value))
        value *= STEP
    return [*dict.fromkeys(results), total]
