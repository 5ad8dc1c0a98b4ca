"""Krum (Blanchard et al. 2017, section 4): the message whose n - f - 2 nearest others are nearest."""

from typing import Any, Literal, NamedTuple

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer
from torch import Tensor

from bench.errors import require
from bench.protocol import Setting
from bench.registry import register
from bench.rules import RowRule, apply_weights, checked_gram, mean_of, nearest_sums

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


def krum_weights(gram: Tensor, num_byzantine: int, num_selected: int = 1, variant: Variant = "paper") -> Tensor:
    """Weights `(n,)`: the mean over the rows with the smallest sums of squared distances to their nearest others."""
    n, f = len(gram), num_byzantine
    require(
        f >= 0 and n >= 2 * f + 3, "num_byzantine", f, f"between 0 and {max(0, (n - 3) // 2)}: Krum needs n >= 2 f + 3"
    )
    require(1 <= num_selected <= n, "num_selected", num_selected, f"between 1 and {n}")
    require(variant in VARIANTS, "variant", variant, f"one of {', '.join(VARIANTS)}")
    meaning = VARIANTS[variant]
    scores = nearest_sums(gram, n - f - meaning.fewer, meaning.power)
    weights = mean_of(_lowest(scores, num_selected), n)
    return weights * num_selected if meaning.total else weights


def _lowest(scores: Tensor, count: int) -> Tensor:
    """Indices `(count,)` of the lowest scores. Of equal ones Krum takes the first (footnote 3), Multi-Krum any."""
    return scores.argmin(dim=0, keepdim=True) if count == 1 else scores.topk(count, largest=False).indices


def krum(messages: Tensor, num_byzantine: int, num_selected: int = 1, variant: Variant = "paper") -> Tensor:
    """Krum of `(n, d)`: `(d,)`; `num_selected` > 1 is Multi-Krum, the mean of the best rows.

    `variant` is another meaning in public use, see `VARIANTS`. Raises `ValueError` unless n >= 2 f + 3,
    1 <= num_selected <= n and the messages are finite.
    """
    return apply_weights(krum_weights(checked_gram(messages), num_byzantine, num_selected, variant), messages)


def check_setting(setting: Setting) -> None:
    """Raise `ValueError` unless the participants suffice for the assumed number of Byzantine ones."""
    n, f = setting.participants, setting.num_byzantine
    wanted = f"at most {(n - 3) // 2} of {n} participants for Krum, which needs n >= 2 f + 3"
    require(n >= 2 * f + 3, "assumed Byzantine clients", f, wanted)


@register("defense", "krum")
class Krum(RowRule):
    """Krum with the suite's assumed f; more than one selected is Multi-Krum."""

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

    def weights(self, gram: Tensor, num_byzantine: int) -> Tensor:
        return krum_weights(gram, num_byzantine, self.num_selected, self.variant)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return round(fraction * setting.participants) <= setting.num_byzantine
