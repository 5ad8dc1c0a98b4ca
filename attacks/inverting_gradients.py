"""Inverting gradients (Geiping et al. 2020): images whose gradient points the same way, by signed Adam.

The gradient's length tells how well a sample is learnt, its direction what it looks like: so the loss is the cosine
distance of the whole gradient, with the images' total variation as a prior. Adam descends it by the sign of its
derivative, in steps that shrink to a tenth after 3/8, 5/8 and 7/8 of their number, inside the range of valid pixels.
Labels are read off the last layer, as in DLG. A message of signs has a direction only: of it, the loss is the cosine
distance of the smoothed signs. All targets run as one batch, several starts one after the other; the best one counts.
"""

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.directions import cosine_slope, lengths, soft_signs_slope, variation_slope
from bench.attacking.inversion import (
    Matcher,
    Observation,
    inferred_labels,
    observations,
    pullback,
    through,
)
from bench.base import rng
from bench.models.base import one_hot
from bench.registry import register
from bench.threat import PrivacyAttack, PublicFacts, Reconstruction, View

DECAY_AT, DECAY = (3 / 8, 5 / 8, 7 / 8), 0.1
"""The shares of the steps after which the step size falls, and to which part of it (as in the authors' code)."""


def cosine_distance(vectors: Tensor, targets: Tensor) -> Tensor:
    """1 - cos `(k,)` of the angles between rows `(k, d)`, from 0 to 2; 1 where one of them is 0."""
    return 1 - (vectors / lengths(vectors) * (targets / lengths(targets))).sum(dim=1)


def total_variation(images: Tensor) -> Tensor:
    """Mean absolute difference of neighbours, down plus across, `(k,)` of images `(k, B, C, H, W)`."""
    down, across = images.diff(dim=-2).abs(), images.diff(dim=-1).abs()
    return down.flatten(1).mean(dim=1) + across.flatten(1).mean(dim=1)


@register("attack", "inverting_gradients")
class InvertingGradients(PrivacyAttack):
    """The passive server, against the B samples that each target trains on."""

    version = 2

    steps: int = Field(default=1000, ge=1)  # in each start
    starts: int = Field(default=2, ge=1)
    lr: float = Field(default=0.1, gt=0)
    momentum: float = Field(default=0.99, ge=0, lt=1)  # of Adam; its usual 0.9 recovers fewer pictures
    tv: float = Field(default=1e-4, ge=0)  # the weight of the total variation; larger for smooth pictures

    def infer(self, view: View, generator: torch.Generator) -> Reconstruction:
        estimates = self.estimates(view)
        seen = observations(view, estimates)
        labels = inferred_labels(view, seen[-1])
        size = (*labels.shape, *view.image_shape)
        best, losses = torch.zeros(size), torch.full((len(labels),), torch.inf)
        trace: list[float] = []
        for start in range(self.starts):
            guess = torch.randn(size, generator=rng.fork(generator, start))
            images, history = self._descend(view, seen, labels, guess)
            better = history[-1] < losses
            best[better], losses[better] = images[better], history[-1][better]
            trace += history.median(dim=1).values.tolist()
        return Reconstruction(best, labels, losses, trace, estimates[-1])

    def prior_slope(self, facts: PublicFacts, images: Tensor) -> Tensor:
        """The derivative of what images `(T, B, C, H, W)` are expected to have little of, by the images."""
        return self.tv * variation_slope(images)

    def _descend(self, view: View, seen: list[Observation], labels: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
        """From these images to better ones; the cosine distances `(steps + 1, T)` on the way."""
        facts, rows = view.facts, torch.arange(len(labels))
        matchers = [direction_matcher(facts, one, rows) for one in seen]
        y = one_hot(labels, facts.model.num_classes, images.dtype)
        low, high = (((bound - facts.mean) / facts.std)[:, None, None].to(images) for bound in (0, 1))
        # fused, as it takes the same square roots on every processor, where torch.sqrt does not
        optimizer = torch.optim.Adam([images], lr=self.lr, betas=(self.momentum, 0.999), fused=True)
        milestones = [int(share * self.steps) for share in DECAY_AT]
        scheduler = torch.optim.lr_scheduler.MultiStepLR(optimizer, milestones, DECAY)
        history = []
        for _ in range(self.steps):
            distance, by_images = _mean_of(matchers, images, y)
            images.grad = (by_images + self.prior_slope(facts, images)).sign()
            optimizer.step()
            scheduler.step()
            images.clamp_(low, high)
            history.append(distance)
        history.append(_mean_of(matchers, images, y)[0])
        return images, torch.stack(history)


def direction_matcher(facts: PublicFacts, seen: Observation, rows: Tensor) -> Matcher:
    """The cosine distance of what dummy images of the targets `rows (k,)` would show from what these showed."""
    target = seen.target[rows]
    distance = cosine_slope((target / lengths(target)).float())
    slope = soft_signs_slope(distance, seen.offset.float(), seen.lr) if seen.offset is not None else distance
    return through(pullback(facts.model, seen, rows, torch.float32), slope)


def _mean_of(matchers: list[Matcher], images: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The mean over all that was seen: losses `(T,)` and derivatives by the images."""
    parts = [match(images, y) for match in matchers]
    loss = torch.stack([part for part, _ in parts]).mean(dim=0)
    return loss, torch.stack([by_images for _, (by_images, _) in parts]).mean(dim=0)
