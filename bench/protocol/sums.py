"""Defenses whose server adds the messages up: a training cell needs their sum alone, and never holds the messages.

Blocks of clients are trained and summed while they lie in cache, and noise that shows in the sum alone is drawn there,
from exactly the distribution that the single messages would give it. A cell that attacks privacy sends real messages.
"""

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from bench.base.classes import still_said
from bench.protocol.defense import Defense, Delivered, LocalRound, ServerRound, Setting


@dataclass(frozen=True)
class Sums:
    """Says that `summary` and `drawn_sum` stand for the messages of the class `of`, and of no subclass of it.

    A subclass may change what is sent, delivered or aggregated: it says so anew, or sends messages.
    """

    of: type[Defense]


class SumDefense(Defense):
    """A defense whose next model depends on the messages through what `add_up` makes of them."""

    exact: ClassVar[bool] = False
    """Whether `add_up` counts: of blocks of messages it then gives numbers that add up to that of all, unrounded."""

    @classmethod
    def adds_exactly(cls) -> bool:
        """Whether it says of its own `add_up` that it is `exact`; a base's word does not count."""
        return cls.exact and still_said(cls, "exact", "add_up")

    @abstractmethod
    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        """The next global model `(d,)` from the sum `(d,)`."""

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        """What the server adds up of messages `(k, d)`, whose clients have the weights p_k `(k,)`: `(d,)`."""
        return messages.sum(dim=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return self.step(self.add_up(delivered.rows, server.weights), server)  # no permutation changes a sum

    def sums(self, setting: Setting) -> Sums | None:
        """`Sums(TheClass)` where a round can be played in sums; by default every message is there."""
        return None

    def summary(self, local: LocalRound) -> Tensor:
        """What a block of honest clients adds to the sums `(k, d)` from which `drawn_sum` makes their total."""
        return self.add_up(self.upload(local).messages, local.weights).unsqueeze(0)

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        """The honest clients' total `(d,)`, distributed as `add_up` of their messages is."""
        return summary[0]


def plays_in_sums(defense: Defense, setting: Setting) -> bool:
    """Whether a round of this defense is played without messages: its own class says that their sum stands for them."""
    said = defense.sums(setting) if isinstance(defense, SumDefense) else None
    return said is not None and said.of is type(defense)
