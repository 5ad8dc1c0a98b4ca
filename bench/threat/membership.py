"""Membership inference, typed: what an attacker sees of a whole run, and what it says of each candidate.

A candidate is an image of which somebody asks: did this client train on it? Half of a target's candidates are images
that it holds, half are images of the same classes that nobody holds.
"""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from bench.threat.attacks import Attack
from bench.threat.views import PublicFacts, RoundView

Sight = Literal["broadcasts", "uploads"]
"""What an attacker sees of a run: the models alone, as every client does, or also what reaches the server."""


@dataclass(frozen=True)
class MembershipView:
    """What an attacker knows of T targets' candidates, B each, and of a run that has come to its end.

    x `(T, B, *shape)`, normalised, and y `(T, B)`: the candidates. models: every model that was broadcast, `(d,)`, and
    the one after the last round. uploads: round by round what reached the server about the targets; empty for an
    attacker who sees the broadcasts alone.
    rehearse: the attacker's own run of the public protocol. Of `index` and `inside (T, B)` bool, with B / 2 candidates
    of each target, it gives the view of a run in which the targets hold those candidates, and all others hold images
    that the attacker has. Rehearsals of another index have other randomness. None in the view of a rehearsal.
    """

    facts: PublicFacts
    x: Tensor
    y: Tensor
    models: tuple[Tensor, ...]
    uploads: tuple[RoundView, ...] = ()
    rehearse: Callable[[int, Tensor], "MembershipView"] | None = None


class MembershipAttack(Attack):
    """Somebody who has seen a run tells which candidates its targets trained on."""

    plays = "membership"

    def collusion(self) -> float:
        """rho, the fraction of the other clients that collude with the server."""
        return 0.0

    @abstractmethod
    def sees(self) -> Sight:
        """What it looks at; only a server, with or without colluders, sees uploads."""

    @abstractmethod
    def infer(self, view: MembershipView, generator: torch.Generator) -> Tensor:
        """A score for each candidate `(T, B)`: the higher, the likelier its target trained on it."""
