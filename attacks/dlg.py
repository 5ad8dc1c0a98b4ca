"""DLG (Zhu et al. 2019): find the image whose gradient matches the one that a client revealed, with L-BFGS.

A dummy image and a dummy label are optimised until the gradient that they give matches the target's. With
`label="inferred"` the label is read off the last layer instead (Zhao et al. 2020: iDLG): one sample's bias gradient is
p - y, negative at the true class alone. All targets and starts run as one batch, in float64; a target whose match is
poor is started again (a single start fails on many images: errata, last part). The attack keeps the start with the
smallest loss of its own.
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from bench import rng
from bench.inversion import Observation, clipped, observations
from bench.lbfgs import Minimum, minimise
from bench.registry import register
from bench.threat import PrivacyAttack, PublicFacts, Reconstruction, View


def match_loss(gradient: Tensor, seen: Observation, rows: Tensor, facts: PublicFacts) -> Tensor:
    """How far dummy gradients `(k, d)` are from what targets `rows (k,)` revealed: `(k,)`.

    The squared distance of DLG; for signs, one minus the cosine between the signs and the function whose signs they are.
    """
    if not seen.sign:
        return (clipped(gradient, facts, seen.lr) - seen.target[rows]).square().sum(dim=1)
    assert seen.offset is not None
    return 1 - F.cosine_similarity(seen.offset + seen.lr * gradient, seen.target[rows], dim=1)


@register("attack", "dlg")
class DLG(PrivacyAttack):
    """The passive server, on one sample a target."""

    label: Literal["joint", "inferred"] = "inferred"
    starts: int = Field(default=4, ge=1)
    evaluations: int = Field(default=300, ge=2)
    history: int = Field(default=20, ge=1)
    matched: float = Field(default=1e-6, gt=0)  # a loss below this share of a first guess's needs no further start

    def estimates(self, view: View) -> list[Tensor]:
        """The targets' messages `(T, d)` of each round, as the server got them."""
        return [seen.estimate for seen in view.rounds]

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = self.estimates(view)
        seen = observations(view, estimates)
        num_targets, num_classes = len(view.targets), view.facts.model.num_classes
        pixels = view.mean_image.numel()
        labels = seen[-1].target[:, view.facts.model.last_bias].argmin(dim=1)

        def objective(dummies: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
            dummies = dummies.detach().requires_grad_()
            images = dummies[:, :pixels].unflatten(1, (1, *view.image_shape))
            if self.label == "joint":
                targets = dummies[:, pixels:].softmax(dim=1)
            else:
                targets = F.one_hot(labels[rows], num_classes).to(dummies.dtype)
            loss = torch.zeros(len(rows), dtype=dummies.dtype)
            for observation in seen:
                params = observation.params if observation.params.dim() == 1 else observation.params[rows]
                gradient = view.facts.model.gradients(params.double(), images, targets.unsqueeze(1))
                loss = loss + match_loss(gradient, observation, rows, view.facts)
            return loss.detach(), torch.autograd.grad(loss.sum(), dummies)[0]

        width = pixels + (num_classes if self.label == "joint" else 0)
        best = torch.zeros(num_targets, width, dtype=torch.float64)
        losses = torch.full((num_targets,), torch.inf, dtype=torch.float64)
        trace: list[float] = []
        for start in range(self.starts):
            rows = (losses > self.matched).nonzero()[:, 0]
            if not len(rows):
                break
            draw = torch.randn(num_targets, width, generator=rng.fork(generator, start), dtype=torch.float64)
            found = minimise(lambda dummies, at, rows=rows: objective(dummies, rows[at]), draw[rows], self.evaluations, self.history)
            better = found.loss < losses[rows]
            best[rows[better]], losses[rows[better]] = found.x[better], found.loss[better]
            trace += found.trace.median(dim=1).values.tolist()
        if self.label == "joint":
            labels = best[:, pixels:].argmax(dim=1)
        images = best[:, :pixels].unflatten(1, view.image_shape)
        return Reconstruction(images, labels, losses, trace, estimates[-1])
