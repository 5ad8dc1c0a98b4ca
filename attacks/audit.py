"""Audit: a canary in one client's update, and the adversary that tells best whether it is there (Nasr et al. 2021).

The two inputs differ by all that the claim allows: the update points one way or the other (or is there or not) at the
clipping bound, or every sign is the other one. The server sees what the channel delivers, colluders take out what they
know of the noise, and each game is scored with the likelihood ratio of the two inputs: a matched filter, whitened by
the variance that is left on each coordinate. `bench.plays.audit` plays the games on the defense's own code.
"""

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from attacks.subspace import recover
from bench.registry import register
from bench.threat import Game, PrivacyAudit, RoundView, strip


def target_tau_squared(game: Game) -> float:
    """tau^2 of the target, the first client, where each has its own."""
    given = game.parameters["tau_squared"]
    return float(given[0] if isinstance(given, tuple) else given)


def left_over(seen: RoundView, game: Game) -> float:
    """Variance of the noise shares that no colluder knows, on each coordinate of the target's message.

    Of the v shares that the target sent and the v that it got those remain that it exchanged with honest peers; those
    that it got are scaled by s ~ N(1, tau^2), so that they have 1 + tau^2 times the variance of a share.
    """
    assert seen.num_sent is not None
    assert seen.num_got is not None
    v, tau_squared = game.parameters["num_shares"], target_tau_squared(game)
    unknown = (v - int(seen.num_sent[0])) + (1 + tau_squared) * (v - int(seen.num_got[0]))
    return float(game.parameters["share_variance"] * unknown)


def whitened(away: Tensor, game: Game, seen: RoundView) -> Tensor:
    """Sigma^-1 `away (d,)`, Sigma the covariance of NISS's noise given the shares r_i that the colluders sent.

    With s a number for each coordinate Sigma is diagonal, a + tau^2 sum of r_i^2; with one number a share it is
    a I + tau^2 R R^T, inverted by Woodbury's identity.
    """
    assert seen.each_got is not None
    r, a = seen.each_got[0].double(), left_over(seen, game)
    tau_squared, floor = target_tau_squared(game), 1e-9 * float(game.parameters["share_variance"])
    a = max(a, floor)  # nothing is left: any number tells the worlds apart
    if game.parameters["scale"] == "coordinate":
        return torch.div(away, r.square().sum(dim=0) * tau_squared + a)
    if tau_squared == 0:
        return torch.div(away, a)
    inner = torch.eye(len(r), dtype=r.dtype) * (a / tau_squared) + r @ r.mT
    inside = torch.linalg.solve(inner, r @ away)
    return torch.div(away - r.mT @ inside, a)


def beside_the_sum(own: Tensor, total: Tensor, game: Game) -> Tensor:
    """Sigma^-1 (own - input) with the sum of all uploads beside the target's own: `(d,)`.

    The others' inputs are known, so the sum shows the target's as well, under the noise that the receivers' factors s
    leave: m tau^2 sigma^2 (Theorem 2), against (2 + tau^2) sigma^2 on the upload; tau^2 sigma^2 is in both. At tau = 0
    the shares cancel, and the sum hides nothing. Generalized least squares of the two.
    """
    sigma_squared = game.parameters["share_variance"] * game.parameters["num_shares"]
    tau_squared, m = target_tau_squared(game), game.participants
    upload, both, everything = (2 + tau_squared), tau_squared, max(m * tau_squared, 1e-9)
    weight = (upload - both) / (upload + everything - 2 * both)
    variance = (upload * everything - both**2) / (upload + everything - 2 * both)
    return torch.div((1 - weight) * own + weight * total, variance * sigma_squared)


@register("attack", "audit")
class Audit(PrivacyAudit):
    """The server with a fraction rho of the clients, who send shares of zeros where they are `active`."""

    version: ClassVar[int] = 2  # 1 chose its threshold by the best pointwise bound

    rho: float = Field(default=0.0, ge=0, le=1)
    active: bool = False
    direction: Literal["dense", "coordinate"] = "dense"  # a random direction, or all of the canary on one coordinate
    runs: int = Field(default=1000, ge=10)
    dim: int = Field(default=100, ge=1)

    def collusion(self) -> float:
        return self.rho

    def sabotages(self) -> bool:
        return self.active

    def size(self) -> tuple[int, int]:
        return self.runs, self.dim

    def canary(self, generator: torch.Generator) -> Tensor:
        if self.direction == "coordinate":
            return torch.eye(self.dim, dtype=torch.float64)[0]
        direction = torch.randn(self.dim, generator=generator, dtype=torch.float64)
        return torch.div(direction, direction.norm())

    def evidence(self, seen: RoundView, game: Game) -> Tensor:
        middle = (game.without + game.with_) / 2
        away = strip(seen)[0].double() - middle
        if seen.total is not None and self._sum_says_more(seen, game):
            away = beside_the_sum(away, seen.total - middle, game)
        elif seen.each_got is not None:
            away = whitened(away, game, seen)
        return torch.mul(game.with_ - game.without, away)

    def _sum_says_more(self, seen: RoundView, game: Game) -> bool:
        """Whether shares that cancel in the sum hide less there than what colluders leave on the target's upload."""
        if "share_variance" not in game.parameters or self.active or game.parameters["dropout"]:
            return False
        left = game.participants * target_tau_squared(game) * game.parameters["num_shares"]
        return seen.each_got is None or left * game.parameters["share_variance"] < left_over(seen, game)

    def recover(self, seen: RoundView, game: Game) -> Tensor:
        return (recover(seen) if game.parameters.get("scale") == "share" else strip(seen))[0]

    def is_gaussian(self, game: Game) -> bool:
        """Not where factors s that nobody knows make the variance differ from game to game (errata N2, N4).

        With s for each coordinate that is so of a single one; with one s a share, until all shares are known.
        """
        scale = game.parameters.get("scale")
        if scale is None or target_tau_squared(game) == 0:
            return True
        return self.direction == "dense" if scale == "coordinate" else self.rho == 1
