"""Crash: Byzantine clients send what is no number, what is infinite, or nothing at all."""

from typing import Literal

from torch import Tensor

from bench.attacking.forging import check_honest, copies
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView

Kind = Literal["nan", "inf", "silence"]


def crash(honest: Tensor, num_byzantine: int, kind: Kind = "nan") -> Tensor:
    """`num_byzantine` rows `(f, d)` of NaN, infinities, or the zeros that stand for silence."""
    check_honest(honest, num_byzantine, at_least=0)
    require(kind in ("nan", "inf", "silence"), "kind", kind, "nan, inf or silence")
    value = {"nan": float("nan"), "inf": float("inf"), "silence": 0.0}[kind]
    return copies(honest.new_full((honest.shape[1],), value), num_byzantine)


@register("attack", "crash")
class Crash(ByzantineAttack):
    """Oblivious; the engine rejects what is not finite, alike for all defenses, and counts it in the record."""

    finite = False
    apart = True

    kind: Kind = "nan"

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        return crash(view.own.to(view.broadcast.dtype), len(view.own), self.kind)
