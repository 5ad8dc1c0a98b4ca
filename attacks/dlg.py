"""DLG (Zhu et al. 2019): find the image whose gradient matches the one that a client revealed, with L-BFGS.

A dummy image and a dummy label are optimised until the gradient that they give matches the target's. With
`label="inferred"` the label is read off the last layer instead (Zhao et al. 2020: iDLG): one sample's gradient there is
p - y, negative at the true class alone. All targets run as one batch, in float64; those that do not match are started
again (a single start fails on many images: errata, last part), and the start with the smallest loss counts.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from bench import rng
from bench.inversion import Observation, match_loss, observations
from bench.lbfgs import minimise
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View


@register("attack", "dlg")
class DLG(PrivacyAttack):
    """The passive server, against one sample a target."""

    label: Literal["joint", "inferred"] = "inferred"
    starts: int = Field(default=3, ge=1)
    evaluations: int = Field(default=200, ge=2)  # of the matching loss, in each start
    history: int = Field(default=20, ge=1)  # pairs that L-BFGS keeps
    matched: float = Field(default=1e-4, gt=0)  # a loss, as a share of the first guess's, that needs no further start

    def estimates(self, view: View) -> list[Tensor]:
        """The targets' messages `(T, d)` of each round, as the server got them."""
        return [seen.estimate for seen in view.rounds]

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = self.estimates(view)
        seen = observations(view, estimates)
        labels = view.facts.model.class_errors(seen[-1].target).argmin(dim=1)
        num_targets, pixels, joint = len(labels), view.mean_image.numel(), self.label == "joint"
        width = pixels + view.facts.model.num_classes * joint

        best = torch.zeros(num_targets, width, dtype=torch.float64)
        losses = torch.full((num_targets,), torch.inf, dtype=torch.float64)
        first = torch.full_like(losses, torch.inf)
        trace: list[float] = []
        for start in range(self.starts):
            rows = (losses > self.matched * first).nonzero()[:, 0] if start else torch.arange(num_targets)
            if not len(rows):
                break
            dummies = torch.randn(num_targets, width, generator=rng.fork(generator, start), dtype=torch.float64)[rows]
            objective = Matching(view, seen, labels, rows, joint)
            found = minimise(objective, dummies, self.evaluations, self.history)
            first[rows] = torch.minimum(first[rows], found.trace[0])
            better = found.loss < losses[rows]
            best[rows[better]], losses[rows[better]] = found.x[better], found.loss[better]
            trace += found.trace.median(dim=1).values.tolist()
        if joint:
            labels = best[:, pixels:].argmax(dim=1)
        images = best[:, :pixels].unflatten(1, view.image_shape)
        return Reconstruction(images, labels, losses, trace, estimates[-1])


class Matching:
    """The matching loss and its gradient, for `minimise`: dummies `(k, pixels [+ classes])` of the targets `rows`."""

    def __init__(self, view: View, seen: list[Observation], labels: Tensor, rows: Tensor, joint: bool) -> None:
        self.facts, self.shape, self.pixels = view.facts, view.image_shape, view.mean_image.numel()
        self.seen, self.labels, self.rows, self.joint = seen, labels, rows, joint

    def __call__(self, dummies: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        model, rows = self.facts.model, self.rows[names]
        dummies = dummies.detach().requires_grad_()
        x = dummies[:, : self.pixels].unflatten(1, (1, *self.shape))
        y = dummies[:, self.pixels :].softmax(dim=1) if self.joint else F.one_hot(self.labels[rows], model.num_classes)
        loss = dummies.new_zeros(len(rows))
        for seen in self.seen:
            params = seen.params if seen.params.dim() == 1 else seen.params[rows]
            gradient = model.gradients(params.double(), x, y.double().unsqueeze(1))
            loss = loss + match_loss(gradient, seen, rows, self.facts)
        return loss.detach(), torch.autograd.grad(loss.sum(), dummies)[0]
