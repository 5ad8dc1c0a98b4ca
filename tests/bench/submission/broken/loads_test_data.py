"""Loads the test split, to keep a step only where it helps."""

from torch import Tensor

from bench.data import load
from bench.protocol import Defense, Delivered, ServerRound
from bench.registry import register


@register("defense", "loads_test_data")
class LoadsTestData(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        images = load("digits").test
        step = delivered.messages.mean(dim=0)
        return server.global_model + step * (1 if len(images) else 0)
