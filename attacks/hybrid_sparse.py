"""Hybrid sparse (Özfatura et al. 2024): loud in the few coordinates that the network needs most, ALIE in all others.

    mean + (scale m + z (1 - m)) sigma     m: 1 where pruning would leave a coordinate, z: that of ALIE

What is sparse is too small a part of the message to be seen in its length; what is dense stays within the deviation of
the honest messages, and adds up over the rounds. The mask is made once, in the first round that is attacked, and kept.

From the authors' code (CRYPTO-KU/FL-Byzantine-Library, `attacks/sparse.py`, `config/pruning.py`), with its share of
0.5 % and its scale; of the paper (arXiv 2404.06230) the abstract was at hand. Their mask is of FORCE, a hundred steps
of pruning by saliency, layer by layer, from batches of data. Here it is one step of that saliency over all layers,
|w g| (SNIP, Lee et al. 2019), at the model to which the honest mean leads, since the broadcast may be zero. Their code
forges gradients, mean - sigma; an update is minus a gradient.
"""

import torch
from pydantic import Field
from torch import Tensor

from attacks.alie import alie_z
from bench.attacking.forging import SIGNS, Sign, check_honest, check_number, check_sign, copies, fit, in_range, moments
from bench.base.errors import require
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def most_salient(broadcast: Tensor, change: Tensor, share: float) -> Tensor:
    """The mask `(d,)`, bool, of the `share` of coordinates with the largest |(w + u) u|, at least one.

    w is the `broadcast (d,)` and u the `change (d,)`, which goes as minus the gradient; of equal ones the first.
    """
    require(broadcast.dim() == 1 and len(broadcast) > 0, "broadcast", tuple(broadcast.shape), "(d,) numbers")
    require(change.shape == broadcast.shape, "change", tuple(change.shape), f"of shape {tuple(broadcast.shape)}")
    require(0 < share <= 1, "share", share, "above 0 and at most 1")
    saliency = ((broadcast.double() + change.double()) * change.double()).abs()
    chosen = saliency.sort(descending=True, stable=True).indices[: max(1, int(share * len(change)))]
    return torch.zeros_like(broadcast, dtype=torch.bool).index_fill_(0, chosen, True)


def hybrid_sparse(
    honest: Tensor,
    num_byzantine: int,
    mask: Tensor,
    *,
    scale: float = 1.5,
    z: float | None = None,
    sign: Sign = "plus",
) -> Tensor:
    """`num_byzantine` rows `(f, d)`: mean + z sigma of `honest (h, d)`, with `scale` for z where the `mask (d,)` is.

    sigma is over h - 1, as in the authors' code; z is ALIE's where None.
    Raises `ValueError` unless there are two honest rows, the mask is one of the coordinates, and n and f fit ALIE.
    """
    check_honest(honest, num_byzantine, at_least=2)
    check_sign(sign)
    n = len(honest) + num_byzantine
    require(z is not None or n >= 3, "num_byzantine", num_byzantine, "at least 1 beside two honest rows, for ALIE's z")
    fits = mask.shape == honest.shape[1:] and mask.dtype == torch.bool
    require(fits, "mask", f"{mask.dtype} {tuple(mask.shape)}", f"bool, ({honest.shape[1]},)")
    z = alie_z(n, num_byzantine) if z is None else z
    check_number("z", z, honest.dtype)
    check_number("scale", scale, honest.dtype)
    mean, std = moments(honest, 1)
    factors = torch.full_like(std, SIGNS[sign] * z).masked_fill(mask, SIGNS[sign] * scale)
    return copies(in_range(torch.addcmul(mean, factors, std)), num_byzantine)


@register("attack", "hybrid_sparse")
class HybridSparse(ByzantineAttack):
    """Omniscient: mean and deviation are those of the honest messages."""

    omniscient = True

    share: float = Field(default=0.005, gt=0, le=1)
    scale: float = 1.5
    z: float | None = None
    sign: Sign = "plus"

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.honest is not None
        honest = view.honest if view.honest.is_floating_point() else view.honest.to(view.broadcast.dtype)
        if "mask" not in view.memory:
            change = honest.mean(dim=0)
            if view.alphabet is Alphabet.TERNARY:  # a vote is against the update that it wants
                change = -change
            view.memory["mask"] = most_salient(view.broadcast, change.to(view.broadcast), self.share)
        mask = view.memory["mask"]
        forged = hybrid_sparse(honest, len(view.own), mask, scale=self.scale, z=self.z, sign=self.sign)
        return fit(forged, view.alphabet)
