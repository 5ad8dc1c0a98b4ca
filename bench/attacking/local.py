"""Local training by Byzantine clients who change it: their batches, their gradients, and where a step may lead."""

import torch
from torch import Tensor

from bench.protocol import Alphabet
from bench.threat import Batch, ByzantineView, OwnTraining


class LocalChange:
    """What attackers do otherwise in each local step; by default nothing."""

    def batch(self, batch: Batch) -> Batch:
        """The batch that they train on, in place of this one."""
        return batch

    def direction(self, gradients: Tensor, models: Tensor) -> Tensor:
        """What a step goes against `(f, d)`, of the gradients at the models `(f, d)`."""
        return gradients

    def project(self, models: Tensor) -> Tensor:
        """The models `(f, d)` that they go on from, of those after a step."""
        return models


def trained(own: OwnTraining, broadcast: Tensor, change: LocalChange, passes: int = 1) -> Tensor:
    """The updates `(f, d)` after `passes` times the steps of the round, from the broadcast `(d,)`, with the change."""
    models: Tensor | None = None
    for x, targets in (batch for _ in range(passes) for batch in own.batches()):
        x, targets = change.batch((x, targets))
        if models is None:
            models = broadcast.repeat(len(x), 1)
        moved = models.clone()
        own.model.follow_(moved, change.direction(own.direction(models, x, targets), models), own.lr)
        models = change.project(moved)
    assert models is not None
    return models - broadcast


def within(updates: Tensor, radius: float | None) -> Tensor:
    """Updates `(f, d)`, each brought onto the ball of this radius where it lies outside; any where it is None."""
    if radius is None:
        return updates
    lengths: Tensor = torch.linalg.vector_norm(updates, dim=1, keepdim=True, dtype=torch.float64)
    return updates * (radius / lengths.clamp(min=radius)).to(updates.dtype)


def as_sent(updates: Tensor, view: ByzantineView) -> Tensor:
    """Updates `(f, d)` as messages: in a ternary alphabet the votes for them, sign(w_0 - w_i)."""
    if view.alphabet is Alphabet.TERNARY:
        return torch.sign(-updates).to(torch.int8)
    return updates.to(view.own.dtype)
