"""Who colludes with the server, and who sends shares of zeros for it."""

from dataclasses import dataclass

import torch
from torch import Tensor

from bench.base.errors import require_somebody
from bench.base.rng import shuffled


def check_collusion(rho: float, num_clients: int) -> None:
    """Raise `ValueError` where a positive rho of the other clients rounds to nobody."""
    require_somebody("rho", rho, num_clients - 1, "other clients")


def choose_colluders(num_clients: int, targets: Tensor, rho: float, generator: torch.Generator) -> Tensor:
    """`(T, n)` bool: round(rho (n - 1)) of the others collude against each target, the first of one random order."""
    rank = shuffled(num_clients, generator)
    own = rank[targets].unsqueeze(1)
    among_others = rank - (rank > own).long()
    return (among_others < round(rho * (num_clients - 1))) & (rank != own)


@dataclass(frozen=True)
class Saboteurs:
    """Clients that deviate for the server: `colluders (T, n)` bool send the `targets (T,)` peer messages of zeros.

    Each target stands for a game of its own: what it sends to another target, as whose enemy it sends zeros, counts as
    honest where it is the target itself.
    """

    targets: Tensor
    colluders: Tensor

    def mute(self, participants: Tensor) -> Tensor:
        """`(m, m)` bool among the round's clients: whom each of them (a row) sends zeros."""
        silent = torch.zeros(len(participants), len(participants), dtype=torch.bool)
        here = torch.isin(self.targets, participants)
        silent[:, torch.searchsorted(participants, self.targets[here])] = self.colluders[here][:, participants].mT
        return silent
