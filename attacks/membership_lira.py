"""LiRA (Carlini et al. 2022): a likelihood ratio of what runs with the image give, against runs without it.

The attacker plays the public protocol itself, `rehearsals` times: in each rehearsal every target holds a random half of
its candidates, in the next one the other half. A statistic of an image is then normal with one mean over the runs that
had it and another one over those that had not, and the score is

    ln N(observed; mean inside, s_in^2) - ln N(observed; mean outside, s_out^2)

the online attack. With few rehearsals no image has a variance of its own, so that the deviations of all images from
their means are pooled. (The authors' code, whose `fix_variance` is for that, pools the values themselves, means and
all, and takes medians for means; the paper's text was not at hand.) The statistic is the confidence ln(p / (1 - p))
under the last model, or, for a server, how the target's upload points down the image's loss, the cosine of
`membership_gradient`: a ratio for each round, added up as if rounds were independent.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.membership_gradient import own_cosines
from bench.attacking.membership import alignments, confidence, logits
from bench.base import rng
from bench.base.errors import require
from bench.registry import register
from bench.threat import MembershipAttack, MembershipView, Sight

LEAST_VARIANCE = 1e-20
"""Of a statistic that is the same in all runs."""


def lira(observed: Tensor, rehearsed: Tensor, inside: Tensor) -> Tensor:
    """The log likelihood ratio `(...)` of `observed (...)`, from `rehearsed (K, ...)` of which `inside` had the image.

    Raises `ValueError` unless every image was inside at least twice, and outside at least twice.
    """
    counts = torch.stack([inside.sum(dim=0), (~inside).sum(dim=0)])
    require(bool((counts >= 2).all()), "inside", int(counts.min()), "at least 2 runs with and 2 without each image")
    results = [_log_density(observed, rehearsed, some) for some in (inside, ~inside)]
    return results[0] - results[1]


def _log_density(observed: Tensor, rehearsed: Tensor, some: Tensor) -> Tensor:
    """Log density of `observed` by mean and pooled variance of the runs in `some (K, ...)`, but for a constant."""
    values, count = rehearsed.double(), some.sum(dim=0)
    mean = torch.where(some, values, 0).sum(dim=0) / count
    squares = torch.where(some, values - mean, 0).square().sum()
    variance = (squares / (count - 1).sum()).clamp(min=LEAST_VARIANCE)
    away = (observed.double() - mean).square() / variance
    return -(away + torch.xlogy(torch.ones_like(variance), variance)) / 2


@register("attack", "membership_lira")
class MembershipLiRA(MembershipAttack):
    """Whoever sees the models, or the server, and plays rehearsals."""

    on: Literal["model", "uploads"] = "model"  # the last model's confidence, or how the target's uploads point
    rehearsals: int = Field(default=16, ge=4, multiple_of=2)

    def sees(self) -> Sight:
        return "broadcasts" if self.on == "model" else "uploads"

    def infer(self, view: MembershipView, generator: torch.Generator) -> Tensor:
        assert view.rehearse is not None
        rehearsed, inside = [], []
        for index in range(0, self.rehearsals, 2):
            half = random_half(view.y, rng.fork(generator, index))
            for step, some in enumerate((half, ~half)):
                rehearsed.append(self._statistics(view.rehearse(index + step, some)))
                inside.append(some)
        observed, played, had = self._statistics(view), torch.stack(rehearsed), torch.stack(inside)
        ratios = [lira(one, played[:, at], had) for at, one in enumerate(observed)]
        return torch.stack(ratios).sum(dim=0)

    def _statistics(self, view: MembershipView) -> Tensor:
        """`(S, T, B)`: one of the last model, or one of each round's uploads."""
        if self.on == "model":
            return confidence(logits(view, view.models[-1]), view.y).unsqueeze(0)
        return torch.stack([own_cosines(alignments(view, seen)) for seen in view.uploads])


def random_half(like: Tensor, generator: torch.Generator) -> Tensor:
    """`(T, B)` bool with B / 2 of each row's candidates, drawn at random."""
    order = torch.rand(like.shape, generator=generator, device=generator.device).argsort(dim=1)
    return order < like.shape[1] // 2
