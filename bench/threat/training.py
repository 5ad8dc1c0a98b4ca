"""What Byzantine clients hold who train in a way of their own: the round's model, batches and step."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from bench.models.base import Model

Batch = tuple[Tensor, Tensor]
"""Images `(f, B, C, H, W)`, normalised, and targets `(f, B, classes)` of f clients."""


@dataclass(frozen=True)
class OwnTraining:
    """The local training of a round's f Byzantine clients, as the protocol has it, for them to do otherwise.

    windows are the (start, size) of its steps, and `window` gives the batch of one, of the clients' own shards (as they
    have poisoned them); direction is what a step goes against `(f, d)`, at models `(f, d)` on a batch. Client momentum
    is not part of it. black and white `(C, 1, 1)` are the ends of a pixel's range, normalised.
    """

    model: Model
    lr: float
    windows: Sequence[tuple[int, int]]
    window: Callable[[int, int], Batch]
    direction: Callable[[Tensor, Tensor, Tensor], Tensor]
    black: Tensor
    white: Tensor

    def batches(self) -> Iterator[Batch]:
        """The batches of the round, in their order."""
        for start, size in self.windows:
            yield self.window(start, size)
