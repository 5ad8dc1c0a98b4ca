"""A little is enough (Baruch et al. 2019, algorithm 3): the honest mean, moved by z deviations, few enough to be kept.

z is the largest number of deviations at which s of the honest clients still lie further out: with them the attackers
are the majority, and a rule that follows it takes the forged value for an honest one.

The authors' code (moranant/attacking_distributed_learning, `malicious.py`) forges gradients, mean - z sigma, which the
server subtracts. An update is minus a gradient: it is mean + z sigma here, and `sign="minus"` the other one.
"""

import torch
from pydantic import Field
from scipy.special import ndtri
from torch import Tensor

from bench.attacking.forging import SIGNS, Sign, check_honest, check_number, check_sign, copies, fit, in_range, moments
from bench.base.errors import require
from bench.base.numbers import added
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def alie_z(num_clients: int, num_byzantine: int) -> float:
    """z_max: Phi(z) = (n - f - s) / (n - f) with s = floor(n / 2 + 1) - f supporters, at least one.

    Raises `ValueError` unless n >= 3 and 0 <= f <= n - 2.
    """
    n, f = num_clients, num_byzantine
    require(n >= 3, "num_clients", n, "at least 3")
    require(0 <= f <= n - 2, "num_byzantine", f, f"between 0 and {n - 2}: two clients are honest")
    supporters = max(1, n // 2 + 1 - f)
    return float(ndtri((n - f - supporters) / (n - f)))


def alie(honest: Tensor, num_byzantine: int, z: float | None = None, ddof: int = 0, *, sign: Sign = "plus") -> Tensor:
    """`num_byzantine` rows `(f, d)`, all mean + z sigma of `honest (h, d)`; z by the paper's formula where None.

    `sign` is that of sigma, plus as the authors'; so is `ddof` 0.
    """
    check_honest(honest, num_byzantine)
    check_sign(sign)
    mean, std = moments(honest, ddof)
    z = alie_z(len(honest) + num_byzantine, num_byzantine) if z is None else z
    check_number("z", z, honest.dtype)
    return copies(in_range(torch.add(mean, std, alpha=z * SIGNS[sign])), num_byzantine)


@register("attack", "alie")
class ALIE(ByzantineAttack):
    """Omniscient: mean and deviation are those of the honest messages, not of the attackers' own as in the paper."""

    omniscient = True

    z: float | None = None
    ddof: int = Field(default=0, ge=0, le=1)
    sign: Sign = added("plus")

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        return fit(alie(view.honest, len(view.own), self.z, self.ddof, sign=self.sign), view.alphabet)
