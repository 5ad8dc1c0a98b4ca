"""What attacks on label shares work with: shrunk least squares, a ridge regression over groups, shares made proper."""

from collections.abc import Sequence

import torch
from torch import Tensor

STEPS = tuple(10.0**power for power in range(-4, 5))
"""Ridge penalties that are tried, as multiples of the features' mean square; behind them, no feature at all."""
LEAST = 1e-12


def proper(values: Tensor) -> Tensor:
    """The closest shares to `values (..., C)`, none below 0, that add up to 1 (Duchi et al. 2008, figure 1)."""
    ordered = values.sort(dim=-1, descending=True).values
    excess = (ordered.cumsum(dim=-1) - 1) / torch.arange(1, values.shape[-1] + 1, dtype=values.dtype)
    last = (ordered > excess).sum(dim=-1, keepdim=True) - 1
    return (values - excess.gather(-1, last)).clamp(min=0)


def shrunk(design: Tensor, seen: Tensor, most: float) -> Tensor:
    """How far shares are from a guess, `(T, C)`, from S looks `seen (S, T, C)` = design (S, T, C, C) @ it + noise.

    Empirical Bayes: deviations of the targets, which add up to 0, are taken for normal draws around 0 with one variance
    (of at most `most`), and noise for white; both variances are the method of moments' (Efron and Morris 1973, here by
    least squares). Without noise it is least squares; where all is noise it is 0.
    """
    looks, targets, classes = seen.shape
    centre = torch.eye(classes, dtype=seen.dtype) - 1 / classes
    gram = centre @ torch.einsum("stij,stik->tjk", design, design) @ centre
    inner = torch.einsum("stij,sti->tj", design, seen) @ centre
    size = gram.diagonal(dim1=1, dim2=2).sum()

    def solved(penalty: float) -> Tensor:
        inside = gram + max(penalty, LEAST * float(size) / targets) * centre + 1 / classes
        result: Tensor = torch.linalg.solve(inside, inner.unsqueeze(2)).squeeze(2) @ centre
        return result

    if not bool(size > 0):
        return torch.zeros_like(seen[0])
    least_squares = solved(0.0)
    left = (seen - torch.einsum("stij,tj->sti", design, least_squares)).square().sum()
    noise = float(left) / (targets * (looks * classes - classes + 1))
    told = float((least_squares * (gram @ least_squares.unsqueeze(2)).squeeze(2)).sum())
    spread = min(most, (told - noise * (classes - 1) * targets) / float(size))
    return solved(noise / spread) if spread > 0 else torch.zeros_like(least_squares)


def regressed(features: Sequence[Tensor], answers: Sequence[Tensor], wanted: Tensor) -> Tensor:
    """Answers `(T, C)` for `wanted (T, p)`, by ridge regression on K groups of `features (T, p)`, `answers (T, C)`.

    The penalty is the one with the least squared error on groups left out, of four folds (fewer of fewer groups); among
    the penalties is one under which the mean is all that is learnt.
    """
    folds = min(4, len(features))
    errors = torch.zeros(len(STEPS) + 1, dtype=wanted.dtype)
    for fold in range(folds):
        inside = [index for index in range(len(features)) if index % folds != fold]
        outside = range(fold, len(features), folds)
        mine, told = (torch.cat([part[index] for index in inside]) for part in (features, answers))
        asked, right = (torch.cat([part[index] for index in outside]) for part in (features, answers))
        guesses = [_ridge(mine, told, asked, step) for step in (*STEPS, None)]
        errors += torch.stack([(guess - right).square().sum() for guess in guesses])
    best = (*STEPS, None)[int(errors.argmin())]
    return _ridge(torch.cat(list(features)), torch.cat(list(answers)), wanted, best)


def _ridge(features: Tensor, answers: Tensor, wanted: Tensor, step: float | None) -> Tensor:
    """By standardised features `(n, p)`; without a step the mean of the answers `(n, C)`."""
    mean, middle = features.mean(dim=0), answers.mean(dim=0)
    away = features - mean
    scale = away.square().mean(dim=0)
    useful = scale > LEAST * scale.max()
    if step is None or not bool(useful.any()):
        return middle.expand(len(wanted), -1)
    inverse = 1 / scale[useful]
    away, asked = away[:, useful], (wanted - mean)[:, useful]
    gram = (away * inverse) @ away.mT  # (n, n): the dual form, of fewer rows than features
    weights = torch.linalg.solve(
        gram + step * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype), answers - middle
    )
    result: Tensor = middle + (asked * inverse) @ (away.mT @ weights)
    return result
