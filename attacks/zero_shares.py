"""Zero shares: colluders deviate from NISS, and send their targets shares of zeros, which no s scales (errata N4).

Theorem 3 counts on s_i r_i for each share that a target got; a colluder chooses r_i, and chooses 0. What the target
adds of its own goes, negated, to the same colluders. So of its noise only what it exchanged with honest peers is left:
nothing when all others collude, at any tau.
"""

from attacks.collusion import Collusion
from bench.registry import register


@register("attack", "zero_shares")
class ZeroShares(Collusion):
    """Collusion with clients that are not honest but curious: they write their own peer messages."""

    active = True
