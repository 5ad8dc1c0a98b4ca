"""Membership by gradient (Zhu et al. 2024: FedMIA): an upload points down the loss of the images that it is made of.

In each round, the cosine of minus the image's gradient, at the broadcast model, with the client's update. An image
that the client trained on gave a part of the update; its cosine is higher. How high is it by chance? The other clients
tell, who do not hold the image: their cosines with it are taken for normal, and the score is the mean over rounds of

    Phi((own - mean of the others') / deviation of the others')

as in the authors' code (`lira_attack_ldh_cosine` and its mean over epochs; the paper's text was not at hand), which
writes it as one minus Phi of cosines of the opposite sign. Where the channel hides whose message is whose, all clients
look alike, nobody is a reference, and the score is the mean cosine itself; so it is with `reference = "none"`, the
`cosine attack` of that code. Colluders take what they know out of the target's message first: their own messages out of
a sum, the noise that they shared out of an upload.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.membership import alignments
from bench.base.elementary import sqrt
from bench.registry import register
from bench.threat import MembershipAttack, MembershipView, Sight

LEAST_VARIANCE = 1e-8
"""What the authors' code adds to the variance of the other clients' cosines."""
FEWEST = 3
"""Targets without which the others are no sample."""


def beside_others(cosines: Tensor) -> Tensor:
    """Phi of each own cosine, standardised by the other clients': `(T, B)` of cosines `(T, B, T)` by target and client.

    Raises `ValueError` for fewer than three clients.
    """
    own, others = own_cosines(cosines), _others(cosines)
    if len(cosines) < FEWEST:
        raise ValueError(f"cosines is of {len(cosines)} clients, but must be of at least {FEWEST}")
    mean = others.mean(dim=2)
    variance = (others - mean.unsqueeze(2)).square().mean(dim=2)
    result: Tensor = torch.special.ndtr((own - mean) / sqrt(variance + LEAST_VARIANCE))
    return result


def own_cosines(cosines: Tensor) -> Tensor:
    """Those of each candidate with the update of its own target, `(T, B)` of `(T, B, T)`."""
    return cosines.diagonal(dim1=0, dim2=2).mT


def _others(cosines: Tensor) -> Tensor:
    targets = len(cosines)
    elsewhere = ~torch.eye(targets, dtype=torch.bool)
    return torch.stack([cosines[t][:, elsewhere[t]] for t in range(targets)])


@register("attack", "membership_gradient")
class MembershipGradient(MembershipAttack):
    """The server, with a fraction rho of the other clients on its side."""

    rho: float = Field(default=0.0, ge=0, le=1)
    reference: Literal["others", "none"] = "others"  # whether the other clients' cosines say what is high

    def collusion(self) -> float:
        return self.rho

    def sees(self) -> Sight:
        return "uploads"

    def infer(self, view: MembershipView, generator: torch.Generator) -> Tensor:
        told_apart = len(view.y) >= FEWEST and all(bool((seen.hidden_among <= 1).all()) for seen in view.uploads)
        score = beside_others if self.reference == "others" and told_apart else own_cosines
        return torch.stack([score(alignments(view, seen)) for seen in view.uploads]).mean(dim=0)
