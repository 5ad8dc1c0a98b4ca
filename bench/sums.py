"""Defenses whose server adds the messages up: a training cell needs their sum alone, and never holds the messages.

Blocks of clients are trained and summed while they lie in cache, and noise that shows in the sum alone is drawn there,
from exactly the distribution that the single messages would give it. A cell that attacks privacy sends real messages.
"""

from abc import abstractmethod

import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, LocalRound, ServerRound, Setting

STEPS_WITH_MESSAGES = ("upload", "deliver", "aggregate")


class SumDefense(Defense):
    """A defense whose next model depends on the messages through what `add_up` makes of them."""

    @abstractmethod
    def step(self, total: Tensor, server: ServerRound) -> Tensor:
        """The next global model `(d,)` from the sum `(d,)`."""

    def add_up(self, messages: Tensor, weights: Tensor) -> Tensor:
        """What the server adds up of messages `(k, d)`, whose clients have the weights p_k `(k,)`: `(d,)`."""
        return messages.sum(dim=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return self.step(self.add_up(delivered.rows, server.weights), server)  # no permutation changes a sum

    def sums_suffice(self, setting: Setting) -> bool:
        """Whether `summary` and `drawn_sum` stand for the messages; a class that changes a step says it anew."""
        return True

    def summary(self, local: LocalRound) -> Tensor:
        """What a block of honest clients adds to the sums `(k, d)` from which `drawn_sum` makes their total."""
        return self.add_up(self.upload(local).messages, local.weights).unsqueeze(0)

    def drawn_sum(self, summary: Tensor, num_clients: int, setting: Setting, generator: torch.Generator) -> Tensor:
        """The honest clients' total `(d,)`, distributed as `add_up` of their messages is."""
        return summary[0]


def plays_in_sums(defense: Defense, setting: Setting) -> bool:
    """Whether a round of this defense can be played without messages.

    A subclass that changes what is sent, delivered or aggregated, and does not say itself that sums suffice, sends
    messages: what it inherits may no longer be true of it.
    """
    if not isinstance(defense, SumDefense):
        return False
    classes = type(defense).__mro__
    said = next(at for at, cls in enumerate(classes) if "sums_suffice" in vars(cls))
    changed = any(step in vars(cls) for cls in classes[:said] for step in STEPS_WITH_MESSAGES)
    return not changed and defense.sums_suffice(setting)
