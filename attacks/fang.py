"""Local model poisoning (Fang et al. 2020, section 3): models that turn the rule against its own direction.

The attackers know the direction s in which each parameter of the global model would change without them. Against Krum
they all send the broadcast, moved by lambda against s, with the largest lambda at which Krum still chooses it (section
3.2; the paper then moves all but one of them by up to epsilon). Against trimmed mean and median they send values beyond
the honest ones on the other side of s (sections 3.3 and 3.4).
"""

import math
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.forging import check_honest, copies, deployed, fit, in_range, mean_row, unit_of
from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.rules.gram import gram_matrix, squared_distances, sum_of_smallest
from bench.threat import ByzantineAttack, ByzantineView

Against = Literal["krum", "trimmed_mean"]


def fang(
    honest: Tensor,
    num_byzantine: int,
    generator: torch.Generator,
    against: Against = "krum",
    direction: Tensor | None = None,
    b: float = 2.0,
    threshold: float = 1e-5,
) -> Tensor:
    """`num_byzantine` rows `(f, d)` against `honest (h, d)`; `direction (d,)` is s, the honest mean's signs if None.

    Against Krum the rows are what `honest` is, updates: the broadcast is 0. Against trimmed mean, values are drawn from
    the interval between the honest extreme and b times it (1 / b where that lies on the wrong side).
    """
    check_honest(honest, num_byzantine, at_least=2)
    require(against in ("krum", "trimmed_mean"), "against", against, "krum or trimmed_mean")
    fits = direction is None or direction.shape == honest.shape[1:]
    require(fits, "direction", None if direction is None else tuple(direction.shape), f"of {honest.shape[1]} entries")
    s = torch.sign(mean_row(honest) if direction is None else direction)
    require(s.dtype == honest.dtype, "direction", s.dtype, f"{honest.dtype}, as honest is")
    if against == "krum":
        return copies(s * -krum_lambda(honest, num_byzantine, s, threshold), num_byzantine)
    return beyond_extremes(honest, num_byzantine, s, b, generator)


def krum_lambda(honest: Tensor, num_byzantine: int, s: Tensor, threshold: float = 1e-5) -> float:
    """The largest lambda, halved from the bound of theorem 1, at which Krum chooses one of f rows -lambda s.

    Where it never does, the first one below `threshold`. Krum's scores are Blanchard's, over squared distances.
    """
    check_honest(honest, num_byzantine)
    require(s.shape == honest.shape[1:], "s", tuple(s.shape), f"of {honest.shape[1]} entries")
    require(threshold > 0, "threshold", threshold, "positive")
    h, f = honest.shape[0], num_byzantine
    if f == 0 or not bool(s.any()):
        return 0.0
    size = h + f
    neighbours = size - f - 2
    require(neighbours >= 1, "honest", h, "at least 3 rows, for Krum's n - f - 2 neighbours")
    unit = unit_of(honest)  # squares of float32 overflow long before those of the rules do
    honest, threshold = honest / unit if unit != 1 else honest, threshold / unit
    apart = squared_distances(gram_matrix(honest), diagonal=math.inf)
    along, lengths = (honest @ s).double(), honest.square().sum(dim=1, dtype=torch.float64)
    weight = float(s.square().sum())
    nearest = float(sum_of_smallest(sqrt(apart), min(neighbours, h - 1)).min())
    bound = nearest / max(1, size - 2 * f - 1) + math.sqrt(float(lengths.max()))
    factor = bound / math.sqrt(weight)
    require(factor < math.inf, "honest", "not finite", "finite numbers")  # or it halves for ever
    everyone = torch.zeros(size, size, dtype=torch.float64)
    everyone[:h, :h] = apart
    while factor > threshold:
        everyone[:h, h:] = (lengths + 2 * factor * along + factor**2 * weight).clamp(min=0).unsqueeze(1)
        everyone[h:, :h] = everyone[:h, h:].mT
        everyone.fill_diagonal_(math.inf)
        if int(sum_of_smallest(everyone, neighbours).argmin()) >= h:
            break
        factor /= 2
    return min(factor * unit, torch.finfo(honest.dtype).max)


def beyond_extremes(honest: Tensor, num_byzantine: int, s: Tensor, b: float, generator: torch.Generator) -> Tensor:
    """Values `(f, d)` drawn uniformly between the honest extreme against s and b times, or 1 / b times, that extreme.

    Where s is 0 the attackers take the lower side.
    """
    check_honest(honest, num_byzantine)
    require(1 < b < math.inf, "b", b, "above 1 and finite")
    require(s.shape == honest.shape[1:], "s", tuple(s.shape), f"of {honest.shape[1]} entries")
    extreme = torch.where(s < 0, honest.amax(dim=0), honest.amin(dim=0))
    outwards = in_range(torch.where((s < 0) == (extreme > 0), extreme * b, extreme / b))
    share = torch.rand(num_byzantine, honest.shape[1], generator=generator, dtype=honest.dtype)
    return torch.lerp(extreme.expand_as(share), outwards.expand_as(share), share)


@register("attack", "fang")
class Fang(ByzantineAttack):
    """Omniscient (the paper's full knowledge): s is what the deployed rule makes of all clients' own messages.

    `on="model"` takes the local models for the messages, as the paper does, so that b scales models; `on="update"` the
    updates, as much public code does. It makes no difference against Krum.
    """

    omniscient = True

    against: Against = "krum"
    on: Literal["model", "update"] = "model"
    b: float = Field(default=2.0, gt=1)
    threshold: float = Field(default=1e-5, gt=0)

    def forge(self, view: ByzantineView) -> Tensor:
        honest, own = view.honest, view.own.to(view.broadcast.dtype)
        assert honest is not None
        ternary = view.alphabet is Alphabet.TERNARY
        change = deployed(view)(torch.cat([honest, own]))
        s = -change if ternary else change  # a vote is sign(w_0 - w_i), against the change that it wants
        base = view.broadcast if self.on == "model" and self.against != "krum" and not ternary else 0.0
        forged = fang(honest + base, len(own), view.generator, self.against, s, self.b, self.threshold)
        return fit(forged - base, view.alphabet)
