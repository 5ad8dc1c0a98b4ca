"""Gradient ascent (Nasr, Shokri and Houmansadr 2019): push the loss of images up, and see who pulls it down again.

The active attack on membership of their section on federated learning, in which a participant moves the model by

    W <- W + gamma dL_x / dW

for every image x of which it asks. A client that trained on x takes the loss down again in its next step, which shows
in its upload and in the models; where nobody holds x the loss stays up. Which statistic tells is another attack's, the
`membership_*` one that this is the forging of.

Worked from descriptions of it: neither the paper's text nor its authors' code was at hand. Ours: all images that are
asked about at once, by their mean gradient; and the length of the step, c times that of the attacker's own honest
update, where the paper has a step gamma. Where nobody asks, as in a plain training, there is no image but those of the
attacker's own, whose loss it pushes up: its own update, with the sign changed.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.directions import lengths
from bench.attacking.forging import in_range
from bench.attacking.local import as_sent
from bench.attacking.membership import mean_gradient
from bench.base.errors import require
from bench.protocol import check_detached
from bench.registry import register
from bench.threat import ByzantineAttack, ByzantineView


def ascent(gradient: Tensor, own: Tensor, c: float = 1.0) -> Tensor:
    """Updates `(f, d)` along `gradient (d,)`, c times as long as each of `own (f, d)`; 0 where the gradient is."""
    for argument, tensor in (("gradient", gradient), ("own", own)):
        check_detached(tensor, argument)
    require(0 < c < float("inf"), "c", c, "positive and finite")
    require(own.is_floating_point(), "own", own.dtype, "floating-point numbers")
    require(own.dim() == 2 and gradient.shape == own.shape[1:], "gradient", tuple(gradient.shape), "the shape of a row")
    size = torch.linalg.vector_norm(own, dim=1, keepdim=True, dtype=torch.float64)
    largest = torch.finfo(own.dtype).max
    uphill = gradient.double() / lengths(gradient.double().unsqueeze(0))
    forged: Tensor = c * size * uphill
    return forged.clamp(-largest, largest).to(own.dtype)


@register("attack", "ascent")
class Ascent(ByzantineAttack):
    """Oblivious, but for the images that it asks about; the votes of such an update in a ternary alphabet."""

    c: float = Field(default=1.0, gt=0)

    def needs_updates(self) -> bool:
        return True

    def forge(self, view: ByzantineView) -> Tensor:
        assert view.updates is not None
        if view.asked is None:
            return as_sent(in_range(-self.c * view.updates), view)
        return as_sent(ascent(mean_gradient(view.asked, view.broadcast), view.updates, self.c), view)
