"""L-BFGS on many problems at once: one batched evaluation a step, each row with its own line search and history.

Liu and Nocedal 1989, two-loop recursion; the step is halved until Armijo's condition holds. A row that has its answer
leaves the batch, so that the rest goes on faster.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

Objective = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""(points `(k, n)`, names of their rows `(k,)`) -> (losses `(k,)`, gradients `(k, n)`)."""

ARMIJO = 1e-4
SMALLEST_STEP = 1e-10


@dataclass
class _Rows:
    """The rows still in the batch; every tensor has them as its first axis."""

    names: Tensor
    x: Tensor
    loss: Tensor
    gradient: Tensor
    steps: Tensor  # (k, history, n) differences of points
    yields: Tensor  # (k, history, n) differences of gradients
    count: Tensor  # pairs ever stored
    direction: Tensor
    slope: Tensor
    length: Tensor
    reference: Tensor  # loss when progress was last checked

    def select(self, keep: Tensor) -> "_Rows":
        return _Rows(**{key: value[keep] for key, value in vars(self).items()})


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
) -> Minimum:
    """Minimise row by row from `start (B, n)`, with at most `evaluations` batched evaluations.

    Losses must not be negative. A row stops when its loss is below `tolerance`, when its line search has come down to
    no move at all, or when `patience` evaluations lowered its loss by less than the share `progress`.
    """
    size, width = start.shape
    best, losses = start.clone(), torch.full((size,), torch.inf, dtype=start.dtype)
    trace: list[Tensor] = []
    names = torch.arange(size)
    loss, gradient = objective(start, names)
    empty = start.new_zeros(size, history, width)
    rows = _Rows(
        names, start.clone(), loss, gradient, empty, empty.clone(), torch.zeros(size, dtype=torch.long),
        direction=-gradient, slope=-(gradient**2).sum(1), length=1 / gradient.abs().sum(1).clamp(min=1),
        reference=loss.clone(),
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
    rows.length = torch.where(accepted, rows.length, rows.length / 2)
    if not bool(accepted.any()):
        return
    step, change = trial - rows.x, gradient - rows.gradient
    curved = accepted & ((step * change).sum(1) > 1e-10 * step.norm(dim=1) * change.norm(dim=1))
    slots = rows.count % rows.steps.shape[1]
    at = curved.nonzero()[:, 0]
    rows.steps[at, slots[at]], rows.yields[at, slots[at]] = step[at], change[at]
    rows.count = rows.count + curved
    rows.x = torch.where(accepted.unsqueeze(1), trial, rows.x)
    rows.loss = torch.where(accepted, loss, rows.loss)
    rows.gradient = torch.where(accepted.unsqueeze(1), gradient, rows.gradient)

    direction = _two_loop(rows)
    slope = (direction * rows.gradient).sum(1)
    uphill = slope >= 0
    direction = torch.where(uphill.unsqueeze(1), -rows.gradient, direction)
    slope = torch.where(uphill, -(rows.gradient**2).sum(1), slope)
    rows.direction = torch.where(accepted.unsqueeze(1), direction, rows.direction)
    rows.slope = torch.where(accepted, slope, rows.slope)
    rows.length = torch.where(accepted, torch.ones_like(rows.length), rows.length)


def _two_loop(rows: _Rows) -> Tensor:
    """-H g of every row, from as many pairs as each of them has."""
    everyone, history = torch.arange(len(rows.names)), rows.steps.shape[1]
    q = rows.gradient.clone()
    pairs = []
    for back in range(1, min(history, int(rows.count.max())) + 1):
        slot = (rows.count - back) % history
        s, y = rows.steps[everyone, slot], rows.yields[everyone, slot]
        present = rows.count >= back
        rho = torch.where(present, 1 / (s * y).sum(1).where(present, torch.ones_like(rows.loss)), 0.0)
        alpha = rho * (s * q).sum(1)
        q -= alpha.unsqueeze(1) * y
        pairs.append((s, y, rho, alpha))
    if pairs:
        s, y, rho, _ = pairs[0]
        scale = torch.where(rho > 0, 1 / (rho * (y**2).sum(1)).where(rho > 0, torch.ones_like(rho)), 1.0)
        q *= scale.unsqueeze(1)
    for s, y, rho, alpha in reversed(pairs):
        q += (alpha - rho * (y * q).sum(1)).unsqueeze(1) * s
    return -q
