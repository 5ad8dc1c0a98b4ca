"""Picks a client with numpy's global generator."""

import numpy as np
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "numpy_generator")
class NumpyGenerator(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages[np.random.randint(len(delivered.messages))]  # noqa: NPY002
