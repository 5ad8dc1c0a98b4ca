"""Krum (Blanchard et al. 2017, section 4): the message whose n - f - 2 nearest others are nearest."""

from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from bench.base.device import on_gpu
from bench.base.elementary import raised
from bench.base.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import Block, ChoosingRule, apply_weights, mean_of
from bench.rules.gram import (
    DOUBLE_ERROR,
    ContestedError,
    alike,
    check_square,
    decided,
    lowest,
    nearest_sums,
    pairs_of,
)

Variant = Literal["paper", "one_neighbour_more", "unsquared", "fourth_power", "fourth_power_sum"]


class Score(NamedTuple):
    """A meaning of Krum: a row's score adds distances to `power` up, to its n - f - `fewer` nearest others."""

    fewer: int
    power: int
    total: bool = False  # the sum of the selected rows, not their mean


VARIANTS: dict[Variant, Score] = {
    "paper": Score(2, 2),
    "one_neighbour_more": Score(1, 2),  # ByzFL, ByzPy
    "unsquared": Score(1, 1),  # FLPoison
    "fourth_power": Score(2, 4),  # Blades squares twice
    "fourth_power_sum": Score(2, 4, total=True),  # byzantine-robust-noniid-optimizer (EPFL)
}


def krum_weights(
    gram: Tensor, num_byzantine: int, num_selected: int = 1, variant: Variant = "paper", error: float = DOUBLE_ERROR
) -> Tensor:
    """Weights `(n,)`: the mean over the rows with the smallest sums of squared distances to their nearest others.

    Of equal sums the first rows count (footnote 3); equal is what differs by no more than products of this relative
    error can. Raises `ContestedError` where that error is not float64's, and decides.
    """
    check_square(gram)
    n, f = len(gram), num_byzantine
    require(
        f >= 0 and n >= 2 * f + 3, "num_byzantine", f, f"between 0 and {max(0, (n - 3) // 2)}: Krum needs n >= 2 f + 3"
    )
    require(1 <= num_selected <= n, "num_selected", num_selected, f"between 1 and {n}")
    require(variant in VARIANTS, "variant", variant, f"one of {', '.join(VARIANTS)}")
    meaning = VARIANTS[variant]
    neighbours = n - f - meaning.fewer
    scores = nearest_sums(gram, neighbours, meaning.power)
    sure, tied = lowest(scores, num_selected, _tolerance(scores, gram.diagonal(), neighbours, meaning.power, error))
    places = num_selected - len(sure)
    if error > DOUBLE_ERROR and len(tied) > places and not alike(gram, tied):
        raise ContestedError(pairs_of(tied, n))
    weights = mean_of(torch.cat([sure, tied[:places]]), n)
    return weights * num_selected if meaning.total else weights


def score_error(scores: Block, squares: Block, neighbours: int, power: int, error: float) -> Block:
    """Error `(n,)` at most of sums of distances to `power`, to so many neighbours, from products of relative `error`.

    `squares (n,)` are the rows' squared lengths. A squared distance is off by 2 error (|x|^2 + |y|^2), and |y|^2 is at
    most 2 |x|^2 + 2 |x - y|^2.
    """
    apart = raised(scores / neighbours, 2 / power)
    off = error * (6 * squares + 4 * apart)
    result: Block = neighbours * (raised(apart + off, power / 2) - raised(apart, power / 2))
    return result


def _tolerance(scores: Tensor, squares: Tensor, neighbours: int, power: int, error: float) -> Tensor:
    """`score_error` of tensors: on a CPU numpy takes the same steps, each for less."""
    if on_gpu(scores):
        return score_error(scores, squares, neighbours, power, error)
    with np.errstate(over="ignore", invalid="ignore"):
        return torch.from_numpy(score_error(scores.numpy(), squares.numpy(), neighbours, power, error))


def krum(messages: Tensor, num_byzantine: int, num_selected: int = 1, variant: Variant = "paper") -> Tensor:
    """Krum of `(n, d)`: `(d,)`; `num_selected` > 1 is Multi-Krum, the mean of the best rows.

    `variant` is another meaning in public use, see `VARIANTS`. Raises `ValueError` unless n >= 2 f + 3,
    1 <= num_selected <= n and the messages are finite.
    """

    def choose(gram: Tensor, error: float) -> Tensor:
        return krum_weights(gram, num_byzantine, num_selected, variant, error)

    return apply_weights(decided(messages, choose), messages)


def check_setting(setting: Setting) -> None:
    """Raise `ValueError` unless the participants suffice for the assumed number of Byzantine ones."""
    n, f = setting.participants, setting.num_byzantine
    wanted = f"at most {(n - 3) // 2} of {n} participants for Krum, which needs n >= 2 f + 3"
    require(n >= 2 * f + 3, "assumed Byzantine clients", f, wanted)


@register("defense", "krum")
class Krum(ChoosingRule):
    """Krum with the suite's assumed f; more than one selected is Multi-Krum."""

    breakdown = "assumed"

    num_selected: int = Field(default=1, ge=1)
    variant: Variant = "paper"

    @model_serializer(mode="wrap")
    def _paper_goes_without_saying(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Records from before there were variants keep their key."""
        fields: dict[str, Any] = handler(self)
        return {name: value for name, value in fields.items() if (name, value) != ("variant", "paper")}

    def start(self, setting: Setting) -> None:
        n = setting.participants
        check_setting(setting)
        require(self.num_selected <= n, "num_selected", self.num_selected, f"at most {n}, the participants")

    def choose(self, gram: Tensor, num_byzantine: int, error: float) -> Tensor:
        return krum_weights(gram, num_byzantine, self.num_selected, self.variant, error)
