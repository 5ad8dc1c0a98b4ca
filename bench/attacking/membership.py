"""What attacks on membership measure of each candidate: its loss, its confidence, how an upload points."""

import torch
import torch.nn.functional as F
from torch import Tensor

from bench.attacking.directions import lengths
from bench.models.base import Model, one_hot
from bench.protocol import Alphabet
from bench.threat import Asked, MembershipView, PublicFacts, RoundView, strip

BLOCK = 2**24
"""Entries of candidates' gradients that are held at once."""


def logits(view: MembershipView, model: Tensor) -> Tensor:
    """What a model `(d,)` answers to the candidates, `(T, B, classes)`."""
    answers = view.facts.model.logits(model, view.x.flatten(0, 1).to(model.dtype))
    shaped: Tensor = answers.unflatten(0, view.y.shape)
    return shaped


def losses(view: MembershipView, model: Tensor) -> Tensor:
    """The cross-entropy `(T, B)` of the candidates under a model `(d,)`, without ties where it is sure."""
    return F.softplus(-confidence(logits(view, model), view.y))  # -ln p, where ln p itself would round to 0


def confidence(answers: Tensor, labels: Tensor) -> Tensor:
    """ln(p / (1 - p)) of the labels `(...)` under logits `(..., classes)`: close to normal over training sets.

    LiRA's scaling of the probability p (Carlini et al. 2022, and its code): without cancellation the label's logit
    less the logarithm of the others' summed exponentials.
    """
    label = labels.unsqueeze(-1)
    others = answers.scatter(-1, label, -torch.inf)
    top, at = others.max(dim=-1, keepdim=True)
    rest = top - others.log_softmax(dim=-1).gather(-1, at)  # their log of summed exponentials, as bench computes it
    return (answers.gather(-1, label) - rest).squeeze(-1)


def alignments(view: MembershipView, seen: RoundView) -> Tensor:
    """How much each client's upload of a round is a step down each candidate's loss: cosines `(T, B, T)`.

    Entry (t, b, k) is that of minus the gradient of the candidate b of target t, at the broadcast model, with the
    update of target k as far as the server knows it. 0 where one of them is 0.
    """
    facts = view.facts
    directions = updates(facts, seen)
    directions = directions / lengths(directions)
    x, y = view.x.flatten(0, 1).to(seen.broadcast.dtype), view.y.flatten()
    rows = max(1, BLOCK // facts.model.dim)
    results = [
        -gradients / lengths(gradients) @ directions.mT
        for some, labels in zip(x.split(rows), y.split(rows), strict=True)
        for gradients in [_gradients(facts.model, seen.broadcast, some, labels)]
    ]
    shaped: Tensor = torch.cat(results).unflatten(0, view.y.shape)
    return shaped


def updates(facts: PublicFacts, seen: RoundView) -> Tensor:
    """The targets' messages `(T, d)` as updates, less the noise that colluders know; a vote is minus an update."""
    messages = strip(seen)
    return -messages if facts.alphabet is Alphabet.TERNARY else messages


def mean_gradient(asked: Asked, broadcast: Tensor) -> Tensor:
    """Of the cross-entropy of all images that are asked about, `(d,)`, under the model `(d,)`."""
    x, y = asked.x.to(broadcast.dtype), one_hot(asked.y, asked.model.num_classes, broadcast.dtype)
    gradient: Tensor = asked.model.gradients(broadcast, x.unsqueeze(0), y.unsqueeze(0))[0]
    return gradient


def _gradients(model: Model, params: Tensor, x: Tensor, labels: Tensor) -> Tensor:
    """One gradient `(M, d)` for each of M samples."""
    return model.gradients(params, x.unsqueeze(1), one_hot(labels, model.num_classes, x.dtype).unsqueeze(1))
