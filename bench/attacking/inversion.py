"""From a view to what a client revealed about its gradient: the part that all inversion attacks share.

Learning rate, p_k, penalty and the previous model are public, so a linked real message gives the gradient itself; a
sign message gives the sign of a known function of it. B images a target, on which it took E full-batch steps.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from bench.base.errors import require
from bench.models.base import Model
from bench.protocol import Alphabet
from bench.threat import PublicFacts, RoundView, View

SHARPNESS = 0.03
"""Width of the smoothed sign, as a share of the mean absolute value."""

LEAST_FLIP = 0.05
"""The randomness that a sign is granted at least, so that one wrong bit does not cost everything."""

Derivatives = tuple[Tensor, Tensor]
"""By images `(k, B, C, H, W)` and by targets `(k, B, classes)`."""

Pullback = Callable[[Tensor, Tensor], tuple[Tensor, Callable[[Tensor], Derivatives]]]
"""(images, targets) -> (gradients `(k, d)`, what takes derivatives by them `(k, d)` back to images and targets)."""

Matcher = Callable[[Tensor, Tensor], tuple[Tensor, Derivatives]]
"""(images, targets) -> (matching losses `(k,)`, their derivatives)."""

Slope = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Gradients `(k, d)` -> (a loss of them `(k,)`, its derivative by them `(k, d)`)."""


@runtime_checkable
class FastInversion(Protocol):
    """A model that has its second derivatives written out."""

    def pullback(self, params: Tensor) -> Pullback:
        """Of `gradients`, at parameters `(d,)` or `(k, d)`."""

    def distance(self, params: Tensor, wanted: Tensor) -> Matcher:
        """The squared distance of `gradients` from `wanted (k, d)`."""


@dataclass(frozen=True)
class Observation:
    """One thing known about each of T targets.

    With g the mean gradient of `steps` full-batch steps of length `step_size` from `params` (`(d,)`, or `(T, d)` a row
    a target): `target (T, d)` is g itself (with noise), or, when `sign` is set, an estimate in [-1, 1] of
    sign(offset + lr * g). precision `(T, d)`: one over the variance of the noise on g, where it is known, scaled to a
    mean of 1 over all observations of a target; None where all coordinates are alike.
    """

    params: Tensor
    target: Tensor
    lr: float  # what g is multiplied by in the update
    steps: int = 1
    step_size: float = 0.0  # 0 where there is but one step
    sign: bool = False
    offset: Tensor | None = None
    precision: Tensor | None = None


def observations(
    view: View, estimates: Sequence[Tensor], variances: Sequence[Tensor | None] | None = None
) -> list[Observation]:
    """What the rounds of a view say about the targets' gradients; `estimates` are their messages `(T, d)` by round.

    `variances` are those of the noise on these messages; they are used where updates are sent, and all are known.
    """
    facts, rounds = view.facts, view.rounds
    if facts.keeps_models:
        require(
            len(rounds) >= 2, "rounds", len(rounds), "at least 2 where clients keep models: their first message is 0"
        )
    if facts.alphabet is Alphabet.TERNARY:
        if facts.keeps_models:
            return [_from_signs(facts, rounds, estimates)]
        return [_from_sign_of_update(facts, seen, vote) for seen, vote in zip(rounds, estimates, strict=True)]
    if facts.keeps_models:
        return _from_kept_models(facts, rounds, estimates)
    shown = _without_momentum(rounds, estimates, facts.momentum)
    results = [_from_update(facts, seen, estimate) for seen, estimate in shown]
    known = [one for one in variances or [] if one is not None]
    if len(known) < len(rounds):
        return results
    mixed = _without_momentum(rounds, known, -(facts.momentum**2))  # of a difference the variances add up
    return _with_precision(results, [variance / seen.lr**2 for seen, (_, variance) in zip(results, mixed, strict=True)])


def _with_precision(seen: Sequence[Observation], variances: Sequence[Tensor]) -> list[Observation]:
    """With what one over the `variances (T, d)` says, up to a factor that leaves the loss in its scale."""
    inverse = [1 / variance.double() for variance in variances]
    mean = torch.stack(inverse).mean(dim=(0, 2)).unsqueeze(1)
    return [replace(one, precision=own / mean) for one, own in zip(seen, inverse, strict=True)]


def _without_momentum(
    rounds: Sequence[RoundView], estimates: Sequence[Tensor], beta: float
) -> list[tuple[RoundView, Tensor]]:
    """What each round added to the running mean that is sent, (1 - beta) update; exact where nothing is clipped.

    The mean starts at 0. Where the view starts later, its first message tells nothing by itself.
    """
    if not beta:
        return list(zip(rounds, estimates, strict=True))
    fresh = rounds[0].index == 0
    require(fresh or len(rounds) >= 2, "rounds", len(rounds), "at least 2 where a view of momentum starts later")
    before = [torch.zeros_like(estimates[0]), *estimates]
    shown = [(seen, sent - beta * last) for seen, sent, last in zip(rounds, estimates, before, strict=False)]
    return shown if fresh else shown[1:]


def _from_update(facts: PublicFacts, seen: RoundView, estimate: Tensor) -> Observation:
    """Local SGD from the broadcast: update = -lr * (sum of the steps' gradients), of which 1 - beta is new."""
    update = estimate * facts.setting.participants if facts.weighted else estimate
    step_size = facts.setting.learning_rate(seen.index)
    lr = step_size * facts.local_steps * (1 - facts.momentum)
    return Observation(seen.broadcast, -update / lr, lr, facts.local_steps, step_size)


def _from_sign_of_update(facts: PublicFacts, seen: RoundView, estimate: Tensor) -> Observation:
    """signSGD: sign(lr * g) from the broadcast; under momentum what the round before it left is taken for nothing."""
    step_size = facts.setting.learning_rate(seen.index)
    lr, offset = step_size * facts.local_steps, torch.zeros_like(seen.broadcast)
    return Observation(seen.broadcast, estimate, lr, facts.local_steps, step_size, sign=True, offset=offset)


def _from_kept_models(
    facts: PublicFacts, rounds: Sequence[RoundView], estimates: Sequence[Tensor]
) -> list[Observation]:
    """RSA's real messages w_i - w_0 give each kept model, and two in a row the gradient between them (eq. 3).

    Of several local steps the mean stands for the first one's gradient, and the first one's penalty for all.
    """
    models = [seen.broadcast + estimate for seen, estimate in zip(rounds, estimates, strict=True)]
    results = []
    for seen, before, after in zip(rounds, models, models[1:], strict=False):
        lr = facts.setting.learning_rate(seen.index) * facts.local_steps
        gradient = (before - after) / lr + facts.local_penalty * torch.sign(seen.broadcast - before)
        results.append(Observation(before, gradient, lr))
    return results


def _from_signs(facts: PublicFacts, rounds: Sequence[RoundView], estimates: Sequence[Tensor]) -> Observation:
    """sign(w_0 - w_i) a step after w_i = w_0 held: w_0^{k+1} - w_0^k + lr * g(w_0^k) (eq. 8, 9; D18).

    That is exact of the first two rounds, from the common start. Later nobody but the client knows w_i^k: of a view
    that starts later the last two rounds are taken, with w_i^k = w_0^k, around which the penalty holds it, as an
    approximation. Of several local steps g stands for the mean, and the penalty's part after the first is left out.
    """
    at = 0 if rounds[0].index == 0 else len(rounds) - 2
    first, second = rounds[at], rounds[at + 1]
    lr = facts.setting.learning_rate(first.index)
    offset = second.broadcast - first.broadcast
    return Observation(first.broadcast, estimates[at + 1], lr * facts.local_steps, sign=True, offset=offset)


def inferred_labels(view: View, seen: Observation) -> Tensor:
    """The labels `(T, B)` of the targets' images, each as often as the last layer's gradient says.

    Its bias has the gradient mean(p - y), so that class c has B (p_c - g_c) images (Geng et al. 2021; Wainakh et al.
    2022: LLG), with the models' answer to the mean image for p. One image needs no p: its class alone has a negative
    gradient (Zhao et al. 2020: iDLG), with the weights' votes. Where only signs are known, or the norm is not, an
    image counts for an equal part of what is negative.
    """
    facts, batch = view.facts, view.facts.batch_size
    if batch == 1 or seen.sign or facts.clip_norm is not None:
        errors = facts.model.class_errors(seen.target)
        negative = errors.clamp(max=0).sum(dim=1, keepdim=True)
        quotas = batch * errors / negative.clamp(max=-torch.finfo(errors.dtype).tiny)
    else:
        quotas = batch * (_blind_guess(view, seen) - facts.model.split(seen.target)[-1])
    return whole_counts(quotas, batch)


def _blind_guess(view: View, seen: Observation) -> Tensor:
    """What the targets' models say of the mean image `(T, classes)`, on average over the way of the local steps."""
    image = view.mean_image.unsqueeze(0).to(seen.target)
    models = [seen.params - step * seen.step_size * seen.target for step in range(seen.steps)]
    answers = [torch.cat([view.facts.model.logits(own, image) for own in rows]).softmax(dim=1) for rows in models]
    return torch.stack(answers).mean(dim=0)


def whole_counts(quotas: Tensor, total: int) -> Tensor:
    """Names `(T, total)` of the classes whose `quotas (T, classes)` are largest, one off for each time it is named.

    Quotas that are not negative and add up to `total` are rounded by largest remainders; all others too give a result.
    """
    left, named = quotas.clone(), []
    for _ in range(total):
        named.append(left.argmax(dim=1, keepdim=True))
        left.scatter_add_(1, named[-1], torch.full_like(left[:, :1], -1))
    return torch.cat(named, dim=1)


def matcher(model: Model, seen: Observation, rows: Tensor, facts: PublicFacts) -> Matcher:
    """How far dummy images and targets are from what the targets `rows (k,)` revealed, with the derivatives.

    For a gradient, the squared distance (Zhu et al. 2019, eq. 4), in which each coordinate counts by its precision
    where that is known (weighted least squares: Aitken 1936). For signs, the mean negative log-likelihood of the
    message under the randomizer, P(x) = (1 - gamma) [x = sign(u)] + gamma / 3 (DPBFL paper, eq. 6), the bracket
    smoothed by a sigmoid; an estimate between -1 and 1 weighs the two signs.
    """
    target = seen.target[rows].double()
    precision = None if seen.precision is None else seen.precision[rows].double()
    plain = not seen.sign and facts.clip_norm is None and precision is None
    if isinstance(model, FastInversion) and seen.steps == 1 and plain:
        return model.distance(_params(seen, rows).double(), target)
    slope = _sign_slope(seen, target, facts) if seen.sign else _distance_slope(seen, target, facts, precision)
    return through(pullback(model, seen, rows, torch.float64), slope)


def through(forth: Pullback, slope: Slope) -> Matcher:
    """The loss of a gradient as a loss of the images and targets that it is the gradient of."""

    def evaluate(x: Tensor, y: Tensor) -> tuple[Tensor, Derivatives]:
        gradient, back = forth(x, y)
        loss, by_gradient = slope(gradient)
        return loss, back(by_gradient)

    return evaluate


def pullback(model: Model, seen: Observation, rows: Tensor, dtype: torch.dtype) -> Pullback:
    """What `seen` says g is of the targets `rows (k,)`, as a function of their images and targets."""
    params = _params(seen, rows).to(dtype)
    if isinstance(model, FastInversion) and seen.steps == 1:
        return model.pullback(params)
    return _by_autograd(model, params, seen.steps, seen.step_size)


def _params(seen: Observation, rows: Tensor) -> Tensor:
    return seen.params if seen.params.dim() == 1 else seen.params[rows]


def _by_autograd(model: Model, params: Tensor, steps: int, step_size: float) -> Pullback:
    def forth(x: Tensor, y: Tensor) -> tuple[Tensor, Callable[[Tensor], Derivatives]]:
        x, y = x.detach().requires_grad_(), y.detach().requires_grad_()
        gradient = model.gradients(params, x, y)
        total = gradient
        for _ in range(steps - 1):
            gradient = model.gradients(params - step_size * total, x, y)
            total = total + gradient
        mean = total / steps

        def back(cotangent: Tensor) -> Derivatives:
            by_x, by_y = torch.autograd.grad(mean, (x, y), cotangent)
            return by_x, by_y

        return mean.detach(), back

    return forth


def _distance_slope(seen: Observation, target: Tensor, facts: PublicFacts, precision: Tensor | None) -> Slope:
    def squared(away: Tensor) -> tuple[Tensor, Tensor]:
        """The loss of a difference `(k, d)`, and half of its derivative."""
        if precision is None:
            return away.square().sum(dim=1), away
        pull = precision * away
        return (pull * away).sum(dim=1), pull

    def slope(gradient: Tensor) -> tuple[Tensor, Tensor]:
        if facts.clip_norm is None:
            loss, pull = squared(gradient - target)
            return loss, 2 * pull
        limit, length = facts.clip_norm / seen.lr, torch.linalg.vector_norm(gradient, dim=1, keepdim=True)
        scale = limit / length.clamp(min=limit)
        loss, pull = squared(scale * gradient - target)
        along = torch.where(scale < 1, (pull * gradient).sum(dim=1, keepdim=True) / length.square(), 0)
        return loss, 2 * scale * (pull - along * gradient)

    return slope


def _sign_slope(seen: Observation, target: Tensor, facts: PublicFacts) -> Slope:
    gamma = max(facts.random_share, LEAST_FLIP)
    positive, negative = (1 + target) / 2, (1 - target) / 2

    def slope(gradient: Tensor) -> tuple[Tensor, Tensor]:
        assert seen.offset is not None
        u = seen.offset + seen.lr * gradient
        width = SHARPNESS * u.abs().mean(dim=1, keepdim=True)
        v = u / width
        s = torch.sigmoid(v)
        plus = (1 - gamma) * s + gamma / 3
        minus = 1 - gamma / 3 - plus
        # xlogy, as its logarithm is the same on every processor
        loss = -(torch.xlogy(positive, plus) + torch.xlogy(negative, minus)).mean(dim=1)
        by_v = (gamma - 1) / u.shape[1] * s * (1 - s) * (positive / plus - negative / minus)
        through_width = SHARPNESS / u.shape[1] * (by_v * v).sum(dim=1, keepdim=True)
        return loss, seen.lr / width * (by_v - through_width * u.sign())

    return slope
