"""Divide and conquer (Shejwalkar and Houmansadr 2021): without what sticks out along the first axis."""

import math
from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Defense, Delivered, ServerRound, Setting, check_messages
from bench.registry import register
from bench.rules import apply_weights, mean_of
from bench.rules.gram import DOUBLE_ERROR, ContestedError, alike, check_square, decided, lowest


def outlier_scores(gram: Tensor) -> Tensor:
    """Squared projections `(n,)` of the centred messages on their top right singular vector, from their Gram matrix.

    With the eigenvector u of the largest eigenvalue lambda of the Gram matrix about the mean, they are lambda u_i^2.
    """
    check_square(gram)
    centred = gram - gram.mean(dim=0, keepdim=True)
    centred = centred - centred.mean(dim=1, keepdim=True)
    values, vectors = torch.linalg.eigh(centred)
    scores: Tensor = values[-1] * vectors[:, -1].square()
    return scores


def _score_error(scores: Tensor, gram: Tensor, error: float) -> Tensor:
    """Error `(n,)` at most of the scores, from products of this relative error.

    A projection p is off by 2 error |x| s, s^2 being the sum of all squared lengths over the score's own sum.
    """
    squares = gram.diagonal() + gram.diagonal().mean()  # |x|^2 about the mean, at most
    spread = squares.sum() / scores.sum().clamp(min=torch.finfo(scores.dtype).tiny)
    return 4 * error * squares * sqrt(spread)


def dnc(
    messages: Tensor,
    num_byzantine: int,
    generator: torch.Generator,
    *,
    num_iterations: int = 1,
    subsample: int = 10_000,
    filter_fraction: float = 1.0,
) -> Tensor:
    """The mean `(d,)` of the messages `(n, d)` that all iterations keep.

    Each takes `subsample` random coordinates (b), and drops the floor(c f) messages with the largest scores, c being
    the `filter_fraction`; of equal scores the last. Where no message is kept by all, the mean is over those that were
    kept most often.
    Raises `ValueError` unless 0 <= f, c f < n, both counts are at least 1, and the messages are finite.
    """
    check_messages(messages)
    n, d = messages.shape
    _check(n, num_byzantine, filter_fraction, "num_byzantine")
    require(num_iterations >= 1, "num_iterations", num_iterations, "at least 1")
    require(subsample >= 1, "subsample", subsample, "at least 1")
    keep = n - int(filter_fraction * num_byzantine)
    votes = torch.zeros(n, dtype=torch.long, device=messages.device)

    def kept(gram: Tensor, error: float) -> Tensor:
        scores = outlier_scores(gram)
        sure, tied = lowest(scores, keep, _score_error(scores, gram, error))
        places = keep - len(sure)
        if error > DOUBLE_ERROR and len(tied) > places and not alike(gram, tied):
            raise ContestedError
        return torch.cat([sure, tied[:places]])

    for _ in range(num_iterations):
        r = torch.randperm(d, generator=generator, device=generator.device)[:subsample].sort().values
        votes[decided(messages if len(r) == d else messages[:, r.to(messages.device)], kept)] += 1
    return apply_weights(mean_of((votes == votes.max()).nonzero()[:, 0], n), messages)


@register("defense", "dnc")
class DnC(Defense):
    """DnC with the suite's assumed f; the server's generator draws the coordinates."""

    version: ClassVar[int] = 2  # of rows that tie the first count
    breakdown = "assumed"

    num_iterations: int = Field(default=1, ge=1)  # niters
    subsample: int = Field(default=10_000, ge=1)  # b
    filter_fraction: float = Field(default=1.0, ge=0)  # c

    def start(self, setting: Setting) -> None:
        _check(setting.participants, setting.num_byzantine, self.filter_fraction, "assumed Byzantine clients")

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        f = server.setting.num_byzantine
        return server.global_model + dnc(delivered.messages, f, server.generator, **self.model_dump())

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return (
            super().tolerates(fraction, setting) and 2 * round(fraction * setting.participants) < setting.participants
        )


def _check(n: int, f: int, c: float, argument: str) -> None:
    require(0 <= c < math.inf, "filter_fraction", c, "at least 0 and finite")
    require(f >= 0 and int(c * f) < n, argument, f, f"at least 0, and {c:g} times it below {n}, the messages")
