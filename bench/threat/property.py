"""Property inference, typed: what a server sees of a whole run, and what it says of each target's labels."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from bench.threat.attacks import Attack
from bench.threat.membership import Sight
from bench.threat.views import PublicFacts, RoundView


@dataclass(frozen=True)
class PropertyView:
    """What a server knows of T targets and of a run that has come to its end, with C classes.

    x `(N, *shape)`, normalised, and y `(N,)`: images of its own, none of which a client trained on. population `(C,)`,
    float64: the shares of the labels among all images that clients may hold, which are public. models: every model that
    was broadcast, `(d,)`, and the one after the last round. uploads: round by round what reached the server about the
    targets.
    rehearse: the attacker's own run of the public protocol, in which clients hold its images, dealt as the suite deals.
    Of an index it gives the view of that run and the shares `(T, C)` that the targets had in it. Rehearsals of another
    index have other randomness. None in the view of a rehearsal.
    """

    facts: PublicFacts
    x: Tensor
    y: Tensor
    population: Tensor
    models: tuple[Tensor, ...]
    uploads: tuple[RoundView, ...]
    rehearse: Callable[[int], tuple["PropertyView", Tensor]] | None = None


class PropertyAttack(Attack):
    """A server that has seen a run tells which share of its targets' images is of which class."""

    plays = "property"

    def collusion(self) -> float:
        """rho, the fraction of the other clients that collude with the server."""
        return 0.0

    def sees(self) -> Sight:
        """What it looks at: the models alone say nothing of one client."""
        return "uploads"

    @abstractmethod
    def infer(self, view: PropertyView, generator: torch.Generator) -> Tensor:
        """Shares `(T, C)` of the classes, none below 0, that add up to 1."""
