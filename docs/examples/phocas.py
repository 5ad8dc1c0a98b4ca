"""Phocas (Xie, Koyejo and Gupta 2018, arXiv 1805.09682): the mean of the n - b values nearest to the trimmed mean."""

import numpy as np

from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import CoordinateRule


def phocas(block: np.ndarray, b: int) -> np.ndarray:
    """Phocas_b `(k,)` of each sorted row of `block (k, n)`: the mean over the n - b values nearest to Trmean_b."""
    n = block.shape[1]
    trimmed_mean = block[:, b : n - b].mean(axis=1, dtype=np.float64)
    order = np.abs(block - trimmed_mean[:, None]).argsort(axis=1, kind="stable")[:, : n - b]
    return np.take_along_axis(block, order, axis=1).mean(axis=1)


@register("defense", "phocas")
class Phocas(CoordinateRule):
    """Phocas with b the number of Byzantine clients that the operator assumes."""

    def start(self, setting: Setting) -> None:
        n, b = setting.participants, setting.num_byzantine
        require(0 <= 2 * b < n, "assumed Byzantine clients", b, f"at most {(n - 1) // 2} of {n}: 2 b < n")

    def reduce(self, block: np.ndarray, num_byzantine: int) -> np.ndarray:
        return phocas(block, num_byzantine)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine
