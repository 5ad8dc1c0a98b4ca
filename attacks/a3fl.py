"""A3FL (Zhang, Jia, Chen, Lin and Wu 2023): a trigger searched by descent, against a model that unlearns it.

The trigger fills a square. In every round the attackers together search it anew from where they left it: signed steps
of the loss of the target on images that carry it, at the broadcast model and, weighted by `balance` times a cosine, at
an adversarial model, which is the broadcast trained on images that carry the trigger with their true labels: what the
honest clients will make of it. Then each trains with the trigger on `share` of every batch.

As the authors' code has it, but for: how many steps (theirs goes over all of an attacker's images 200 times a round,
with steps of 0.01; here `searches` batches with steps of `rate`), plain SGD of the round's rate for the adversarial
model in place of momentum 0.9, anew every `every` steps in place of every pass; the trigger stays in the range of
pixels, theirs within +-2 after normalisation; the cosine is between the gradients on those images at both models,
over all parameters, theirs layer by layer over convolutions, with whatever the broadcast's gradient has summed up. The
paper's text was not at hand.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from bench.attacking.local import LocalChange, as_sent, trained
from bench.attacking.poisoning import DataFacts, DataPoisoning
from bench.attacking.triggers import Boost, boost_of, boosted
from bench.base.errors import require
from bench.data import Split
from bench.models.base import Model
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import Batch, ByzantineView, OwnTraining


def with_trigger(x: Tensor, trigger: Tensor, corner: int = 2) -> Tensor:
    """Images `(..., C, H, W)` with the trigger `(C, s, s)`, `corner` pixels from the upper left corner; copies."""
    size, room = trigger.shape[-1], min(x.shape[-2:]) - corner
    require(1 <= size <= room, "size", size, f"between 1 and {room}, the image's width without its edge")
    shown = x.clone()
    shown[..., corner : corner + size, corner : corner + size] = trigger.to(x.dtype)
    return shown


class Planted(LocalChange):
    """The first `share` of every batch carries the trigger and is called the target, as in the authors' code."""

    def __init__(self, trigger: Tensor, corner: int, target: int, share: float) -> None:
        self.trigger, self.corner, self.target, self.share = trigger, corner, target, share

    def batch(self, batch: Batch) -> Batch:
        x, targets = (part.clone() for part in batch)
        count = int(self.share * x.shape[1])
        x[:, :count] = with_trigger(x[:, :count], self.trigger, self.corner)
        targets[:, :count] = F.one_hot(torch.tensor(self.target), targets.shape[-1]).to(targets)
        return x, targets


@register("attack", "a3fl")
class A3FL(DataPoisoning):
    """Oblivious; the attackers of a round search one trigger together. Success is measured with today's."""

    trains = True

    target: int = Field(default=2, ge=0)
    size: int = Field(default=5, ge=1)  # of the square, in pixels
    corner: int = Field(default=2, ge=0)  # pixels between it and the upper left corner
    share: float = Field(default=0.25, gt=0, le=1)  # of each batch
    boost: Boost = 1.0
    searches: int = Field(default=30, ge=0)  # steps of the trigger in a round
    rate: float = Field(default=0.1, gt=0)  # of such a step, in units of normalised pixels
    balance: float = Field(default=0.01, ge=0)  # lambda_0, of the adversarial model's loss
    every: int = Field(default=10, ge=1)  # steps of the trigger between two adversarial models
    adversarial_steps: int = Field(default=5, ge=1)  # of SGD that make one

    def poison(self, x: Tensor, y: Tensor, data: DataFacts, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        require(self.target < data.num_classes, "target", self.target, f"below {data.num_classes}, the classes")
        return x, y  # what they train on is made of these in every batch

    def goal_now(self, test: Split, data: DataFacts, memory: Mapping[str, Tensor]) -> Split:
        """The test images of other classes with the last trigger; before the first search a grey square."""
        grey = (data.normalised(0.0) + data.normalised(1.0)).expand(-1, self.size, self.size) / 2
        others = test.y != self.target
        shown = with_trigger(test.x[others], memory.get("trigger", grey), self.corner)
        return Split(shown, torch.full_like(test.y[others], self.target))

    def goal(self, test: Split, data: DataFacts) -> Split:
        return self.goal_now(test, data, {})

    def needs_own(self, alphabet: Alphabet) -> bool:
        return False

    def forge(self, view: ByzantineView) -> Tensor:
        sent, own = view.own, view.training
        if own is not None:
            grey = (own.black + own.white).expand(-1, self.size, self.size) / 2
            trigger = self.searched(own, view.broadcast, view.memory.get("trigger", grey))
            view.memory["trigger"] = trigger
            sent = as_sent(trained(own, view.broadcast, Planted(trigger, self.corner, self.target, self.share)), view)
        return sent if view.alphabet is Alphabet.TERNARY else boosted(sent, boost_of(self.boost, view))

    def searched(self, own: OwnTraining, broadcast: Tensor, trigger: Tensor) -> Tensor:
        """The trigger `(C, s, s)` after a round's steps from this one."""
        batches = _pooled(own)
        models = [(broadcast, 1.0)]
        for step in range(self.searches):
            x, targets = next(batches)
            if self.balance and step and step % self.every == 0:
                adversary = self.unlearned(own, broadcast, batches, trigger)
                cosine = _alike(own, broadcast, adversary, with_trigger(x, trigger, self.corner), targets)
                models = [(broadcast, 1.0), (adversary, self.balance * cosine)]
            slope = self.slope(own.model, models, x, trigger)
            trigger = torch.clamp(trigger - self.rate * slope.sign(), min=own.black, max=own.white)
        return trigger

    def slope(self, model: Model, at: Sequence[tuple[Tensor, float]], x: Tensor, trigger: Tensor) -> Tensor:
        """The derivative by the trigger of the target's loss on images `(k, C, H, W)`, at weighted models."""
        wanted = torch.full((len(x),), self.target, device=x.device)
        with torch.enable_grad():
            free = trigger.clone().requires_grad_()
            shown = with_trigger(x, free, self.corner)
            losses = [weight * F.cross_entropy(model.logits(params, shown), wanted) for params, weight in at]
            (result,) = torch.autograd.grad(torch.stack(losses).sum(), free)
        return result

    def unlearned(self, own: OwnTraining, broadcast: Tensor, batches: Iterator[Batch], trigger: Tensor) -> Tensor:
        """The broadcast `(d,)` after a few steps on images that carry the trigger under their true names."""
        models = broadcast[None].clone()
        for _ in range(self.adversarial_steps):
            x, targets = next(batches)
            shown = with_trigger(x, trigger, self.corner)
            own.model.follow_(models, own.direction(models, shown[None], targets[None]), own.lr)
        return models[0]


def _pooled(own: OwnTraining) -> Iterator[Batch]:
    """The round's batches over and over, those of all attackers in one: `(k, C, H, W)` and `(k, classes)`."""
    return ((x.flatten(0, 1), targets.flatten(0, 1)) for x, targets in cycle(own.batches()))


def _alike(own: OwnTraining, one: Tensor, other: Tensor, x: Tensor, targets: Tensor) -> float:
    """The cosine between the gradients of these images at two models."""
    a, b = (own.direction(params[None], x[None], targets[None])[0].double() for params in (one, other))
    return float(F.cosine_similarity(a, b, dim=0))
