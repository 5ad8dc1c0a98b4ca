"""From a view to what a client revealed about its gradient: the part that all inversion attacks share.

Learning rate, p_k, penalty and the previous model are public, so a linked real message gives the gradient itself; a
sign message gives the sign of a known function of it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.errors import require
from bench.models import Model
from bench.protocol import Alphabet, clip
from bench.threat import PublicFacts, RoundView, View

SHARPNESS = 0.03
"""Width of the smoothed sign in `match_loss`, as a share of the mean absolute value."""

LEAST_FLIP = 0.05
"""The randomness that a sign is granted at least, so that one wrong bit does not cost everything."""

Derivatives = tuple[Tensor, Tensor]
"""By images `(k, 1, C, H, W)` and by targets `(k, 1, classes)`."""

Pullback = Callable[[Tensor, Tensor], tuple[Tensor, Callable[[Tensor], Derivatives]]]
"""(images, targets) -> (gradients `(k, d)`, what takes derivatives by them `(k, d)` back to images and targets)."""

Matcher = Callable[[Tensor, Tensor], tuple[Tensor, Derivatives]]
"""(images, targets) -> (matching losses `(k,)`, their derivatives)."""


@runtime_checkable
class FastInversion(Protocol):
    """A model that has its second derivatives written out, for one image a client."""

    def pullback(self, params: Tensor) -> Pullback:
        """Of `gradients`, at parameters `(d,)` or `(k, d)`."""

    def distance(self, params: Tensor, wanted: Tensor) -> Matcher:
        """The squared distance of `gradients` from `wanted (k, d)`."""


@dataclass(frozen=True)
class Observation:
    """One thing known about each of T targets.

    With g the gradient at `params` (`(d,)`, or `(T, d)` a row a target): `target (T, d)` is g itself (with noise), or,
    when `sign` is set, an estimate in [-1, 1] of sign(offset + lr * g).
    """

    params: Tensor
    target: Tensor
    lr: float  # times the local steps: what g is multiplied by in the update
    sign: bool = False
    offset: Tensor | None = None


def observations(view: View, estimates: Sequence[Tensor]) -> list[Observation]:
    """What the rounds of a view say about the targets' gradients; `estimates` are their messages `(T, d)` by round."""
    facts, rounds = view.facts, view.rounds
    if facts.keeps_models:
        require(
            len(rounds) >= 2, "rounds", len(rounds), "at least 2 where clients keep models: their first message is 0"
        )
    if facts.alphabet is Alphabet.TERNARY:
        return _from_signs(facts, rounds, estimates)
    if facts.keeps_models:
        return _from_kept_models(facts, rounds, estimates)
    shown = _without_momentum(estimates, facts.momentum)
    return [_from_update(facts, seen, estimate) for seen, estimate in zip(rounds, shown, strict=True)]


def _without_momentum(estimates: Sequence[Tensor], beta: float) -> list[Tensor]:
    """What each round added to the running mean that is sent, (1 - beta) update; exact where nothing is clipped."""
    before = [torch.zeros_like(estimates[0]), *estimates]
    return [sent - beta * last for sent, last in zip(estimates, before, strict=False)] if beta else list(estimates)


def _from_update(facts: PublicFacts, seen: RoundView, estimate: Tensor) -> Observation:
    """Local SGD from the broadcast: update = -lr * (sum of the steps' gradients), of which 1 - beta is new."""
    update = estimate * facts.setting.participants if facts.weighted else estimate
    lr = facts.setting.learning_rate(seen.index) * facts.local_steps * (1 - facts.momentum)
    return Observation(seen.broadcast, -update / lr, lr)


def _from_kept_models(
    facts: PublicFacts, rounds: Sequence[RoundView], estimates: Sequence[Tensor]
) -> list[Observation]:
    """RSA's real messages w_i - w_0 give each kept model, and two in a row the gradient between them (eq. 3)."""
    models = [seen.broadcast + estimate for seen, estimate in zip(rounds, estimates, strict=True)]
    found = []
    for seen, before, after in zip(rounds, models, models[1:], strict=False):
        lr = facts.setting.learning_rate(seen.index) * facts.local_steps
        gradient = (before - after) / lr + facts.penalty * torch.sign(seen.broadcast - before)
        found.append(Observation(before, gradient, lr))
    return found


def _from_signs(facts: PublicFacts, rounds: Sequence[RoundView], estimates: Sequence[Tensor]) -> list[Observation]:
    """sign(w_0 - w_i) after the first step, from the common start: w_0^1 - w^0 + lr * g (eq. 8, 9; D18).

    Later signs depend on a model that nobody but the client knows; of several local steps g is the mean, which leaves
    out the penalty's part after the first.
    """
    first, second = rounds[0], rounds[1]
    lr = facts.setting.learning_rate(first.index)
    offset = second.broadcast - first.broadcast
    return [Observation(first.broadcast, estimates[1], lr * facts.local_steps, sign=True, offset=offset)]


def matcher(model: Model, seen: Observation, rows: Tensor, facts: PublicFacts) -> Matcher:
    """`match_loss` of the targets `rows (k,)` as a function of dummy images and targets, with its derivatives."""
    params = (seen.params if seen.params.dim() == 1 else seen.params[rows]).double()
    target = seen.target[rows].double()
    if isinstance(model, FastInversion) and not seen.sign and facts.clip_norm is None:
        return model.distance(params, target)
    forth = model.pullback(params) if isinstance(model, FastInversion) else _by_autograd(model, params)
    slope = _sign_slope(seen, target, facts) if seen.sign else _distance_slope(seen, target, facts)

    def evaluate(x: Tensor, y: Tensor) -> tuple[Tensor, Derivatives]:
        gradient, back = forth(x, y)
        loss, by_gradient = slope(gradient)
        return loss, back(by_gradient)

    return evaluate


def _by_autograd(model: Model, params: Tensor) -> Pullback:
    def forth(x: Tensor, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Derivatives]]:
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        gradient = model.gradients(params, x, y)

        def back(cotangent: Tensor) -> Derivatives:
            by_x, by_y = torch.autograd.grad(gradient, (x, y), cotangent)
            return by_x, by_y

        return gradient.detach(), back

    return forth


Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradients `(k, d)` -> (`match_loss (k,)`, its derivative by them `(k, d)`)."""


def _distance_slope(seen: Observation, target: Tensor, facts: PublicFacts) -> Slope:
    def slope(gradient: Tensor) -> tuple[Tensor, Tensor]:
        if facts.clip_norm is None:
            away = gradient - target
            return away.square().sum(dim=1), 2 * away
        limit, length = facts.clip_norm / seen.lr, torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        scale = limit / length.clamp(min=limit)
        away = scale * gradient - target
        along = torch.where(scale < 1, (away * gradient).sum(dim=1, keepdim=True) / length.square(), 0)
        return away.square().sum(dim=1), 2 * scale * (away - along * gradient)

    return slope


def _sign_slope(seen: Observation, target: Tensor, facts: PublicFacts) -> Slope:
    gamma = max(facts.gamma, LEAST_FLIP)
    positive, negative = (1 + target) / 2, (1 - target) / 2

    def slope(gradient: Tensor) -> tuple[Tensor, Tensor]:
        assert seen.offset is not None
        u = seen.offset + seen.lr * gradient
        width = SHARPNESS * u.abs().mean(dim=1, keepdim=True)
        v = u / width
        s = torch.sigmoid(v)
        plus = (1 - gamma) * s + gamma / 3
        minus = 1 - gamma / 3 - plus
        loss = -(positive * plus.log() + negative * minus.log()).mean(dim=1)
        by_v = (gamma - 1) / u.shape[1] * s * (1 - s) * (positive / plus - negative / minus)
        through_width = SHARPNESS / u.shape[1] * (by_v * v).sum(dim=1, keepdim=True)
        return loss, seen.lr / width * (by_v - through_width * u.sign())

    return slope


def match_loss(gradient: Tensor, seen: Observation, rows: Tensor, facts: PublicFacts) -> Tensor:
    """How far dummy gradients `(k, d)` are from what targets `rows (k,)` revealed: `(k,)`.

    For a gradient, the squared distance (Zhu et al. 2019, eq. 4). For signs, the mean negative log-likelihood of the
    message under the randomizer, P(x) = (1 - gamma) [x = sign(u)] + gamma / 3 (DPBFL paper, eq. 6), the bracket
    smoothed by a sigmoid; an estimate between -1 and 1 weighs the two signs.
    """
    target = seen.target[rows]
    if not seen.sign:
        return (_clipped(gradient, facts, seen.lr) - target).square().sum(dim=1)
    assert seen.offset is not None
    u = seen.offset + seen.lr * gradient
    u = u / (SHARPNESS * u.abs().mean(dim=1, keepdim=True))
    gamma = max(facts.gamma, LEAST_FLIP)
    plus = torch.log((1 - gamma) * torch.sigmoid(u) + gamma / 3)
    minus = torch.log((1 - gamma) * torch.sigmoid(-u) + gamma / 3)
    return -((1 + target) / 2 * plus + (1 - target) / 2 * minus).mean(dim=1)


def _clipped(gradient: Tensor, facts: PublicFacts, lr: float) -> Tensor:
    """The gradient `(k, d)` that a clipped update shows."""
    return clip(gradient, None if facts.clip_norm is None else facts.clip_norm / lr)
