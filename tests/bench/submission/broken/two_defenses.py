"""Holds two defenses: which one is meant has to be said."""

from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound


class One(Defense):
    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + delivered.messages.mean(dim=0)


class Other(One):
    pass
