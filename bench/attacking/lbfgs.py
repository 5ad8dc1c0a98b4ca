"""L-BFGS on many problems at once: one batched evaluation a step, each row with its own line search and history.

Liu and Nocedal 1989; the step is halved until Armijo's condition holds. The direction comes from the compact form of
Byrd, Nocedal and Schnabel 1994 (eq. 3.1): two matrix products with a row's history, where the two-loop recursion goes
through it pair by pair. A row that has its answer leaves the batch, so that the rest goes on faster.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points `(k, n)`, names of their rows `(k,)`) -> (losses `(k,)`, gradients `(k, n)`)."""

ARMIJO = 1e-4
SMALLEST_STEP = 1e-10
"""Of the points' own units, as those are of order 1 where pixels are; the losses' do not matter."""


@dataclass
class _History:
    """The last pairs of each row, and the inner products of them that the compact form needs.

    The pairs lie in a ring, so that a new one moves none of the others. The matrices are in order of age, the newest
    pair last; places that no pair has taken come first, as rows of the unit matrix in `mixed`, which stays invertible.
    """

    pairs: Tensor  # (k, history, 2, n) differences of points and of gradients
    count: Tensor  # (k,) pairs ever stored
    mixed: Tensor  # (k, history, history) s_i . y_j where i is no younger than j, else 0
    yields: Tensor  # (k, history, history) y_i . y_j

    @classmethod
    def empty(cls, rows: Tensor, history: int, precision: torch.dtype) -> "_History":
        size, width = rows.shape
        unit = torch.eye(history, dtype=rows.dtype, device=rows.device).repeat(size, 1, 1)
        count = torch.zeros(size, dtype=torch.long, device=rows.device)
        return cls(rows.new_zeros(size, history, 2, width, dtype=precision), count, unit, torch.zeros_like(unit))

    def select(self, keep: Tensor) -> "_History":
        return _History(**{key: value[keep] for key, value in vars(self).items()})

    def store(self, step: Tensor, change: Tensor, fresh: Tensor) -> None:
        """Put the pairs (step, change) `(k, n)` of the rows `fresh (k,)` in the place of their oldest ones."""
        at = fresh.nonzero()[:, 0]
        slot = self.count[at] % self.pairs.shape[1]
        self.pairs[at, slot] = torch.stack([step[at], change[at]], dim=1).to(self.pairs.dtype)
        self.count = self.count + fresh

    def direction(self, gradient: Tensor, change: Tensor, fresh: Tensor) -> Tensor:
        """-H g of every row `(k, n)`; `change` is what `store` has just got for the rows `fresh`."""
        used = min(self.pairs.shape[1], int(self.count.max()))
        if not used:
            return -gradient
        pairs = self.pairs[:, :used].flatten(1, 2)
        place = (self.count.unsqueeze(1) + torch.arange(used, device=gradient.device)) % used  # by age, oldest first
        place = place.unsqueeze(-1).expand(-1, -1, 2)
        dots = (torch.stack([gradient, change], dim=1).to(pairs) @ pairs.mT).to(gradient).unflatten(-1, (used, 2))
        with_gradient, with_change = dots[:, 0].gather(1, place), dots[:, 1].gather(1, place)

        mixed, yields = self.mixed[:, -used:, -used:], self.yields[:, -used:, -used:]
        _append(mixed, with_change[..., 0], fresh)
        _append(yields, with_change[..., 1], fresh)
        yields[:, -1] = yields[:, :, -1].clone()
        own = mixed.diagonal(dim1=1, dim2=2)
        scale = torch.where(self.count > 0, own[:, -1] / yields[:, -1, -1].where(self.count > 0, 1.0), 1.0).unsqueeze(1)
        p = _solve(mixed, with_gradient[..., 0], upper=True)
        q = own * p + scale * ((yields @ p.unsqueeze(-1)).squeeze(-1) - with_gradient[..., 1])
        weights = torch.stack([_solve(mixed.mT, q, upper=False), -scale * p], dim=-1)
        weights = torch.empty_like(weights).scatter_(1, place, weights)
        return -(scale * gradient + (weights.flatten(1).unsqueeze(1).to(pairs) @ pairs).squeeze(1))


def _append(matrix: Tensor, column: Tensor, fresh: Tensor) -> None:
    """Drop the oldest row and column of `matrix (k, u, u)` and put `column (k, u)` last, in the rows `fresh`."""
    at = fresh.nonzero()[:, 0]
    matrix[at, :-1, :-1] = matrix[at, 1:, 1:]
    matrix[at, -1] = 0
    matrix[at, :, -1] = column[at]


def _solve(triangle: Tensor, right: Tensor, upper: bool) -> Tensor:
    solution: Tensor = torch.linalg.solve_triangular(triangle, right.unsqueeze(-1), upper=upper)
    return solution.squeeze(-1)


@dataclass
class _Rows:
    """The rows still in the batch; every tensor has them as its first axis."""

    names: Tensor
    x: Tensor
    loss: Tensor
    gradient: Tensor
    direction: Tensor
    slope: Tensor
    length: Tensor
    reference: Tensor  # loss when progress was last checked
    history: _History

    def select(self, keep: Tensor) -> "_Rows":
        fields = {key: value[keep] for key, value in vars(self).items() if key != "history"}
        return _Rows(**fields, history=self.history.select(keep))


@dataclass(frozen=True)
class Minimum:
    """Points `(B, n)`, their losses `(B,)` and each row's loss after every evaluation, `(evaluations, B)`."""

    x: Tensor
    loss: Tensor
    trace: Tensor


def minimise(
    objective: Objective,
    start: Tensor,
    evaluations: int,
    history: int = 20,
    tolerance: float = 1e-12,
    patience: int = 20,
    progress: float = 1e-3,
    precision: torch.dtype | None = None,
) -> Minimum:
    """Minimise row by row from `start (B, n)`, with at most `evaluations` batched evaluations.

    Losses must not be negative. A row stops when its loss is below `tolerance`, when its line search has come down to
    no move at all, or when `patience` evaluations lowered its loss by less than the share `progress`. Its first move is
    1 long in all (L1), whatever the scale of the loss: only `tolerance` is in the loss's units.
    `precision` is that of the history alone, by default that of `start`: on wide problems most of the time goes into
    reading it.
    """
    best, losses = start.clone(), start.new_full((len(start),), torch.inf)
    trace: list[Tensor] = []
    names = torch.arange(len(start), device=start.device)
    loss, gradient = objective(start, names)
    tiny = torch.finfo(start.dtype).tiny
    rows = _Rows(
        names, start.clone(), loss, gradient,
        direction=-gradient, slope=-(gradient**2).sum(1), length=1 / gradient.abs().sum(1).clamp(min=tiny),
        reference=loss.clone(), history=_History.empty(start, history, precision or start.dtype),
    )  # fmt: skip
    for evaluation in range(1, evaluations):
        _store(rows, best, losses)
        trace.append(losses.clone())
        move = rows.length * rows.direction.abs().amax(dim=1)
        done = (rows.loss < tolerance) | ~torch.isfinite(rows.loss) | (move < SMALLEST_STEP)
        if evaluation % patience == 0:
            done |= rows.loss > (1 - progress) * rows.reference
            rows.reference = rows.loss.clone()
        if bool(done.any()):
            rows = rows.select(~done)
        if not len(rows.names):
            break
        _advance(rows, objective)
    else:
        _store(rows, best, losses)
        trace.append(losses.clone())
    return Minimum(best, losses, torch.stack(trace))


def _store(rows: _Rows, best: Tensor, losses: Tensor) -> None:
    best[rows.names] = rows.x
    losses[rows.names] = rows.loss


def _advance(rows: _Rows, objective: Objective) -> None:
    """One evaluation for every row: accept its trial point and choose a new direction, or halve its step."""
    trial = rows.x + rows.length.unsqueeze(1) * rows.direction
    loss, gradient = objective(trial, rows.names)
    accepted = loss <= rows.loss + ARMIJO * rows.length * rows.slope
    if not bool(accepted.any()):
        rows.length = rows.length / 2
        return
    step, change = trial - rows.x, gradient - rows.gradient
    curved = accepted & ((step * change).sum(1) > 1e-10 * step.norm(dim=1) * change.norm(dim=1))
    moved = accepted.unsqueeze(1)
    rows.x = torch.where(moved, trial, rows.x)
    rows.loss = torch.where(accepted, loss, rows.loss)
    rows.gradient = torch.where(moved, gradient, rows.gradient)
    rows.history.store(step, change, curved)

    direction = rows.history.direction(rows.gradient, change, curved)
    slope = (direction * rows.gradient).sum(1)
    uphill = ~(slope < 0)
    direction = torch.where(uphill.unsqueeze(1), -rows.gradient, direction)
    slope = torch.where(uphill, -(rows.gradient**2).sum(1), slope)
    rows.direction = torch.where(moved, direction, rows.direction)
    rows.slope = torch.where(accepted, slope, rows.slope)
    rows.length = torch.where(accepted, torch.ones_like(rows.length), rows.length / 2)
