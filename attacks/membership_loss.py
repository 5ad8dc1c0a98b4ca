"""Membership by loss (Yeom et al. 2018): a model knows what it was trained on better than what it was not.

The score of an image is minus its cross-entropy under the model after the last round, or the mean over the models of
all rounds (FedMIA's code averages the loss over rounds too). It needs no upload: every client, and everybody who gets
the model, may try it.
"""

from typing import Literal

import torch
from torch import Tensor

from bench.attacking.membership import losses
from bench.registry import register
from bench.threat import MembershipAttack, MembershipView, Sight


@register("attack", "membership_loss")
class MembershipLoss(MembershipAttack):
    """Whoever sees the models."""

    models: Literal["last", "all"] = "last"  # the model after the last round, or the mean over the model of each round

    def sees(self) -> Sight:
        return "broadcasts"

    def infer(self, view: MembershipView, generator: torch.Generator) -> Tensor:
        trained = view.models[1:]  # no image has been in the first one
        used = trained[-1:] if self.models == "last" else trained
        return -torch.stack([losses(view, model) for model in used]).mean(dim=0)
