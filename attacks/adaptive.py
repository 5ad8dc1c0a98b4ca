"""Adaptive: a black-box search for the forged message that harms the deployed rule most, whatever rule it is.

No rule should be judged only by attacks made for others (Tramer et al. 2020). The attackers play candidates through the
server's own rule, on the honest messages that they see, within a stated budget of evaluations. A candidate is the
honest mean plus a length times a direction: first a grid of lengths over directions that published attacks take, then
an evolution strategy, one parent and one child, over their mixtures and the length.
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.sign_flip import sign_flip
from bench.attacking.forging import Rule, check_honest, copies, deployed, in_range, length_of, moments, unit_of
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView

Objective = Literal["descent", "deviation"]
LENGTHS = (1.0, 0.25, 4.0, 16.0, 64.0)
"""Of the first candidates, in units of the honest messages' root mean square distance from their mean."""

LONGEST = 1000.0
"""Of all candidates, in the same units: a mean follows however far it is led."""


def adaptive(
    honest: Tensor,
    num_byzantine: int,
    aggregate: Rule,
    generator: torch.Generator,
    evaluations: int = 60,
    objective: Objective = "descent",
    own: Tensor | None = None,
) -> Tensor:
    """The most harmful of `evaluations` candidates `(f, d)` for `aggregate`, against `honest (h, d)`.

    With `own (f, d)`, what the attackers would have sent, the first candidate is its sign flip.
    """
    check_honest(honest, num_byzantine)
    require(evaluations >= 1, "evaluations", evaluations, "at least 1")
    require(objective in ("descent", "deviation"), "objective", objective, "descent or deviation")
    fits = own is None or own.shape == (num_byzantine, honest.shape[1])
    require(fits, "own", None if own is None else tuple(own.shape), f"of shape {(num_byzantine, honest.shape[1])}")
    search = Search(honest, num_byzantine, aggregate, objective)
    if own is not None:
        search.offer(sign_flip(own))
    grid = [(length, axis) for length in LENGTHS for axis in range(len(search.axes))]
    for length, axis in grid[: evaluations - search.spent]:
        search.offer_mixture(torch.eye(len(search.axes), dtype=torch.float64)[axis], length)
    step = 0.5
    while search.spent < evaluations:
        mixture = search.mixture + step * torch.randn(len(search.axes), generator=generator, dtype=torch.float64)
        length = search.length * math.exp(step * float(torch.randn((), generator=generator, dtype=torch.float64)))
        step *= 1.5 if search.offer_mixture(mixture, length) else 0.9
    return search.best


def strongest_votes(honest: Tensor, num_byzantine: int) -> Tensor:
    """The int8 votes `(f, d)` that move a sum of signs furthest: each against the sign of the honest sum.

    Where the honest votes cancel, every vote moves the sum as far: it is 1.
    """
    check_honest(honest, num_byzantine, signs=True)
    return copies(torch.where(honest.sum(dim=0) > 0, -1, 1).to(torch.int8), num_byzantine)


class Search:
    """The best candidate so far, and the number of evaluations spent on all."""

    def __init__(self, honest: Tensor, num_byzantine: int, aggregate: Rule, objective: Objective) -> None:
        self.honest, self.num_byzantine, self.aggregate, self.objective = honest, num_byzantine, aggregate, objective
        self.mean, std = moments(honest)
        self.radius = min(length_of(std), torch.finfo(std.dtype).max)
        sign = torch.sign(self.mean)
        self.axes = torch.stack([unit(axis) for axis in (-self.mean, -sign, std, -sign * std)])
        self.spent, self.harm = 0, -math.inf
        self.best = copies(self.mean, num_byzantine)
        self.mixture, self.length = torch.zeros(len(self.axes), dtype=torch.float64), 1.0

    def offer(self, forged: Tensor) -> bool:
        """Play a candidate through the rule; whether it is the most harmful so far."""
        change = self.aggregate(torch.cat([self.honest, forged]))
        self.spent += 1
        harm = self._harm(change)
        if better := harm > self.harm:
            self.harm, self.best = harm, forged
        return better

    def offer_mixture(self, mixture: Tensor, length: float) -> bool:
        """The same for the mean plus `length`, in units of the radius, along a mixture `(k,)` of the axes."""
        direction, length = unit(mixture.to(self.axes.dtype) @ self.axes), min(length, LONGEST)
        row = self.mean + direction * length * (self.radius or 1.0)
        better = self.offer(copies(in_range(row), self.num_byzantine))
        if better:
            self.mixture, self.length = mixture, length
        return better

    def _harm(self, change: Tensor) -> float:
        """How far the rule's output lies from the mean, in any direction, or against the mean's own."""
        away = self.mean - change
        harm = length_of(away) if self.objective == "deviation" else away @ unit(self.mean)
        return float(harm) if math.isfinite(float(harm)) else math.inf


def unit(vector: Tensor) -> Tensor:
    """The vector at length 1; zeros stay."""
    length = length_of(vector)
    if length > torch.finfo(vector.dtype).max:
        scale = unit_of(vector)
        return vector / scale / (length / scale)
    return vector / length if length > 0 else vector


@register("attack", "adaptive")
class Adaptive(ByzantineAttack):
    """Omniscient, and plays each candidate through the deployed rule; in a ternary alphabet the strongest votes."""

    omniscient = True

    evaluations: int = Field(default=60, ge=1)
    objective: Objective = "descent"

    def needs_own(self, alphabet: Alphabet) -> bool:
        return alphabet is Alphabet.REAL

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        if view.alphabet is Alphabet.TERNARY:
            return strongest_votes(view.honest, len(view.own))
        rule = deployed(view)
        return adaptive(
            view.honest, len(view.own), rule, view.generator, self.evaluations, self.objective, own=view.own
        )
