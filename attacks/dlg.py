"""DLG (Zhu et al. 2019): find the images whose gradient matches the one that a client revealed, with L-BFGS.

Dummy images, each with a dummy label, are optimised until the gradient that they give matches the target's. With
`label="inferred"` the labels are read off the last layer instead: one sample's gradient there is p - y, negative at the
true class alone (Zhao et al. 2020: iDLG), and a batch's tells how often each class occurs (`inferred_labels`). All
targets run as one batch, in float64; those that do not match are started again (a single start fails on many images:
errata, last part), and the start with the smallest loss counts. Where two starts end at the same loss, it is the noise
that is left, or the best there is, and a third would end there too.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.inversion import Observation, inferred_labels, matcher, observations
from bench.attacking.lbfgs import minimise
from bench.base import rng
from bench.models.base import one_hot
from bench.registry import register
from bench.threat import PrivacyAttack, Reconstruction, View


@register("attack", "dlg")
class DLG(PrivacyAttack):
    """The passive server, against the B samples that each target trains on."""

    version = 2

    label: Literal["joint", "inferred"] = "inferred"
    starts: int = Field(default=3, ge=1)
    evaluations: int = Field(default=200, ge=2)  # of the matching loss, in each start
    history: int = Field(default=100, ge=1)  # pairs that L-BFGS keeps
    matched: float = Field(default=1e-4, gt=0)  # a loss, as a share of 0's or the first guess's, that ends the starts
    agreement: float = Field(default=1e-3, ge=0)  # how close the losses of two starts are, as a share, to be the same

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = self.estimates(view)
        seen = observations(view, estimates, self.variances(view))
        labels, joint = inferred_labels(view, seen[-1]), self.label == "joint"
        num_targets, batch = labels.shape
        pixels = batch * view.mean_image.numel()
        width = pixels + batch * view.facts.model.num_classes * joint

        unit = loss_unit(seen)
        best = torch.zeros(num_targets, width, dtype=torch.float64)
        losses = torch.full((num_targets,), torch.inf, dtype=torch.float64)
        first = unit.clone()
        settled = torch.zeros(num_targets, dtype=torch.bool)
        trace: list[float] = []
        for start in range(self.starts):
            rows = (~settled).nonzero()[:, 0]
            if not len(rows):
                break
            dummies = torch.randn(num_targets, width, generator=rng.fork(generator, start), dtype=torch.float64)[rows]
            objective = Matching(view, seen, labels, rows, joint, unit)
            result = minimise(objective, dummies, self.evaluations, self.history, precision=torch.float32)
            loss, history = result.loss * unit[rows], result.trace * unit[rows]
            first[rows] = torch.minimum(first[rows], history[0])
            same = (loss - losses[rows]).abs() <= self.agreement * losses[rows]
            settled[rows] = same & losses[rows].isfinite()
            better = loss < losses[rows]
            best[rows[better]], losses[rows[better]] = result.x[better], loss[better]
            settled |= losses <= self.matched * first
            trace += history.median(dim=1).values.tolist()
        if joint:
            labels = best[:, pixels:].unflatten(1, (batch, -1)).argmax(dim=2)
        images = best[:, :pixels].unflatten(1, (batch, *view.image_shape))
        return Reconstruction(images, labels, losses, trace, estimates[-1])


def loss_unit(seen: list[Observation]) -> Tensor:
    """What the matching loss of each target `(T,)` is measured in: a power of 2 at the squares of what was seen.

    The least one above them, so that dividing by it rounds nothing; 1 for signs, and where only zeros were seen.
    """
    squares = torch.stack([one.target.double().square().sum(dim=1) * (not one.sign) for one in seen]).sum(dim=0)
    return torch.ldexp(torch.ones_like(squares), torch.frexp(squares).exponent)


class Matching:
    """The matching loss and its gradient, for `minimise`: dummies `(k, B pixels [+ B classes])` of the targets `rows`.

    The known `labels` are `(T, B)`; losses are in their `unit (T,)`: a small gradient is matched as a large one is.
    """

    def __init__(
        self, view: View, seen: list[Observation], labels: Tensor, rows: Tensor, joint: bool, unit: Tensor
    ) -> None:
        self.facts, self.shape = view.facts, (labels.shape[1], *view.image_shape)
        self.pixels = labels.shape[1] * view.mean_image.numel()
        self.seen, self.labels, self.rows, self.joint, self.unit = seen, labels, rows, joint, unit
        self._prepare(torch.arange(len(rows)))

    def _prepare(self, names: Tensor) -> None:
        """What stays the same as long as no row leaves the batch."""
        self.names, rows, model = names, self.rows[names], self.facts.model
        self.matchers = [matcher(model, seen, rows, self.facts) for seen in self.seen]
        self.known = one_hot(self.labels[rows], model.num_classes, torch.float64)

    def __call__(self, dummies: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
        if not torch.equal(names, self.names):
            self._prepare(names)
        x = dummies[:, : self.pixels].unflatten(1, self.shape)
        y = dummies[:, self.pixels :].unflatten(1, self.known.shape[1:]).softmax(dim=2) if self.joint else self.known
        loss, by_x, by_y = dummies.new_zeros(len(names)), torch.zeros_like(x), torch.zeros_like(y)
        for match in self.matchers:
            part, derivatives = match(x, y)
            loss, by_x, by_y = loss + part, by_x + derivatives[0], by_y + derivatives[1]
        unit, slope = self.unit[self.rows[names]], by_x.flatten(1)
        if self.joint:
            by_logits = y * (by_y - (y * by_y).sum(dim=-1, keepdim=True))
            slope = torch.cat([slope, by_logits.flatten(1)], dim=1)
        return loss / unit, slope / unit.unsqueeze(1)
