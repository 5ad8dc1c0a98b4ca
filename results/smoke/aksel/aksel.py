"""AKSEL (Boussetta et al., OPODIS 2020): the mean of the half of the messages that are nearest to their median.

Near is a small squared distance to the coordinate-wise median, and half of n is (n + 1) // 2, whatever f is.

    python -m bench submit aksel.py --suite smoke      checks the contract, runs the suite, prints its row
"""

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound, Setting, check_messages
from bench.registry import register
from defenses.median import coordinate_median


def aksel(messages: Tensor) -> Tensor:
    """The aggregate `(d,)` of messages `(n, d)`, one a row; raises `ValueError` unless they are finite."""
    check_messages(messages)
    distances = (messages - coordinate_median(messages)).double().square().sum(dim=1)
    nearest = torch.argsort(distances, stable=True)[: (len(messages) + 1) // 2]
    return messages[nearest].mean(dim=0)


@register("defense", "aksel")
class Aksel(Defense):
    """As in the paper, on updates instead of gradients."""

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + aksel(delivered.messages)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        """The paper's condition: n >= 2 f + 1."""
        return setting.participants >= 2 * round(fraction * setting.participants) + 1
