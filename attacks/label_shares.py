"""Label shares: a histogram of a client's labels from its uploads (iDLG: Zhao et al. 2020; LLG: Wainakh et al. 2022).

The bias of the last layer has the gradient g = mean(p - y) over the images of a batch, p the model's answers: so the
shares of the labels are mean(p) - g, exactly where p is known, as it is at a model of zeros. Else the images' answers
are those of images of the same classes: with P the mean answer `(C, C)` to the attacker's own images of each class,

    g = (P^T - 1) shares + noise

one look for each round, and all of them together are solved by least squares (LLG+ also takes from images of the
attacker's own what a class adds to the gradient; the authors' code was at hand, the paper's text was not). Of signs,
and of updates that are clipped, the scale is not known: each round's look is what is negative in g, an equal part of it
for each share, which is iDLG's rule for one image. How far the shares are from the population's is then shrunk by as
much as rounds disagree, so that an attacker who sees noise guesses the population.

With `by = "rehearsals"` the attacker plays the public protocol itself, `rehearsals` times, in which it knows what
clients hold, and regresses their shares on features of their uploads, round by round: the last bias's entries, and how
far the upload points down the loss of images of each class. That needs no formula for what a protocol sends. This is
ours.

Colluders take what they know out of the target's message first.
"""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from bench.attacking.inversion import Observation, observations
from bench.attacking.membership import updates
from bench.attacking.shares import proper, regressed, shrunk
from bench.models.base import one_hot
from bench.protocol import Alphabet
from bench.registry import register
from bench.threat import PropertyAttack, PropertyView, RoundView, View, strip

MOST_IMAGES = 50
"""Of a class, whose mean gradient is taken; as many of each class."""


def by_gradients(view: PropertyView) -> Tensor:
    """The shares `(T, C)` by what each round says of the last bias's gradient."""
    guess = view.population
    looks = [_look(view, seen) for seen in _observed(view)]
    design, seen = (torch.stack(part) for part in zip(*looks, strict=True))
    most = float((guess * (1 - guess)).sum()) / (len(guess) - 1)  # all of a client's images of one class
    return proper(guess + shrunk(design, seen, most))


def by_rehearsals(view: PropertyView, rehearsals: int) -> Tensor:
    """The shares `(T, C)` by what rehearsals teach of uploads."""
    assert view.rehearse is not None
    played = [view.rehearse(index) for index in range(rehearsals)]
    return proper(regressed([features(one) for one, _ in played], [shares for _, shares in played], features(view)))


def features(view: PropertyView) -> Tensor:
    """Of each target `(T, 2 C R)`, float64: in each of R rounds its last bias, and how it points down each class.

    The latter is left out where the attacker has no image of a class.
    """
    return torch.cat([_features(view, seen) for seen in view.uploads], dim=1).double()


def class_answers(view: PropertyView, models: Tensor) -> Tensor:
    """The mean answer `(T, C, C)` of models `(T, d)` to the attacker's images of each class, a row a class.

    A class without an image is answered as all images are.
    """
    model, held = view.facts.model, one_hot(view.y, len(view.population), torch.float64)
    counts = held.sum(dim=0).unsqueeze(1)
    results = []
    for params in models:
        answers = model.logits(params, view.x).double().softmax(dim=1)
        results.append(torch.where(counts > 0, held.mT @ answers / counts.clamp(min=1), answers.mean(dim=0)))
    return torch.stack(results)


def _observed(view: PropertyView) -> Iterator[Observation]:
    """What the rounds say of the targets' gradients; of signs of kept models each pair of rounds says one thing."""
    facts, rounds = view.facts, view.uploads
    pairs = facts.keeps_models and facts.alphabet is Alphabet.TERNARY
    for some in [rounds[at : at + 2] for at in range(len(rounds) - 1)] if pairs else [rounds]:
        seen = View(
            facts, torch.arange(len(some[0].estimate)), tuple(some), tuple(view.x.shape[1:]), view.x.mean(dim=0)
        )
        yield from observations(seen, [strip(one) for one in some])


def _look(view: PropertyView, seen: Observation) -> tuple[Tensor, Tensor]:
    """(design `(T, C, C)`, what is seen `(T, C)`) of how far shares are from the population's."""
    gradient, guess = view.facts.model.split(seen.target)[-1].double(), view.population
    own = torch.eye(len(guess), dtype=torch.float64)
    if seen.sign or view.facts.clip_norm is not None:
        negative = -gradient.clamp(max=0)
        total = negative.sum(dim=1, keepdim=True)
        shares = torch.where(total > 0, negative / torch.where(total > 0, total, 1), guess)
        return own.expand(len(gradient), -1, -1), shares - guess
    way = [seen.params - step * seen.step_size * seen.target for step in range(1, seen.steps)]
    models = [seen.params if seen.params.dim() == 2 else seen.params.unsqueeze(0), *way]
    answers = [class_answers(view, some).expand(len(gradient), -1, -1) for some in models]
    design = torch.stack(answers).mean(dim=0).mT - own
    return design, gradient - design @ guess


def _features(view: PropertyView, seen: RoundView) -> Tensor:
    facts, sent = view.facts, updates(view.facts, seen)
    classes = len(view.population)
    least = min(MOST_IMAGES, int(view.y.bincount(minlength=classes).min()))
    if not least:
        return facts.model.split(sent)[-1]
    x = torch.stack([view.x[view.y == label][:least] for label in range(classes)])
    own = one_hot(torch.arange(classes).unsqueeze(1).expand(-1, least), classes, x.dtype)
    down = -facts.model.gradients(seen.broadcast, x, own)
    return torch.cat([facts.model.split(sent)[-1], sent @ down.mT], dim=1)


@register("attack", "label_shares")
class LabelShares(PropertyAttack):
    """The server, with a fraction rho of the other clients on its side."""

    rho: float = Field(default=0.0, ge=0, le=1)
    by: Literal["gradients", "rehearsals"] = "gradients"  # what is known of gradients, or what rehearsals teach
    rehearsals: int = Field(default=8, ge=2)

    def collusion(self) -> float:
        return self.rho

    def infer(self, view: PropertyView, generator: torch.Generator) -> Tensor:
        return by_gradients(view) if self.by == "gradients" else by_rehearsals(view, self.rehearsals)
