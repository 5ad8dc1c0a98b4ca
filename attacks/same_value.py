"""Same value (Li et al. 2019, RSA): every coordinate of every forged message is one constant."""

from torch import Tensor

from bench.attacking.forging import check_honest, check_number, copies, fit
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def same_value(honest: Tensor, num_byzantine: int, value: float = 100.0) -> Tensor:
    """`num_byzantine` rows `(f, d)` of `value`, of the width and type of `honest (h, d)`."""
    check_honest(honest, num_byzantine, at_least=0)
    check_number("value", value, honest.dtype)
    return copies(honest.new_full((honest.shape[1],), value), num_byzantine)


@register("attack", "same_value")
class SameValue(ByzantineAttack):
    """Oblivious; the update is the constant, so in a ternary alphabet the vote is minus its sign."""

    apart = True

    value: float = 100.0

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        own, value = view.own.to(view.broadcast.dtype), self.value
        return fit(same_value(own, len(own), -value if view.alphabet is Alphabet.TERNARY else value), view.alphabet)
