"""The two factors of a layer's gradient: what SPEAR (Dimitrov et al. 2024) works with, and its treatment of noise.

The gradient [dW | db] of a dense layer on B images has rank B: L R by its singular values. Each column of dZ, the
errors of one image at the layer's outputs, is L q for a direction q.
"""

import math
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from bench.attacking.linear_layers import TINY

NOISES = 10.0
"""Standard deviations of noise, below which an entry of dZ counts as 0."""
ROUNDING = 1e-9
"""The same where there is no noise, as a share of the largest entry."""
SAME = 1e-4
"""1 - cos of two columns of dZ that are the same direction, found twice."""


@dataclass(frozen=True)
class Factors:
    """L R: `left (m, B)`, `right (B, in + 1)`, `noise`: its standard deviation on an entry of L q, |q| = 1."""

    left: Tensor
    right: Tensor
    noise: float

    @classmethod
    def of(cls, gradient: Tensor, most: int) -> Self:
        """Of `gradient (m, in + 1)`: B is `most`, or the number of singular values that stand out of the noise.

        Noise has the variance of what the gradient has outside of its `most` largest singular values.
        """
        u, s, v = torch.linalg.svd(gradient, full_matrices=False)
        rows, width = gradient.shape
        size = min(most, len(s))
        noise = float(s[size:].square().sum()) ** 0.5 / max((rows - size) * (width - size), 1) ** 0.5
        edge = noise * (math.sqrt(rows) + math.sqrt(width)) + ROUNDING * float(s[0])
        size = min(size, int((s > 2 * edge).sum()))
        return cls(u[:, :size] * s[:size], v[:size], noise)

    @property
    def size(self) -> int:
        """B, the number of images."""
        return len(self.right)

    def is_zero(self, directions: Tensor) -> Tensor:
        """Which entries of L q `(..., m, k)` are nothing but noise, for q in `directions (..., k, B)`, |q| = 1."""
        columns = self.left @ directions.mT
        return torch.le(columns.abs(), NOISES * self.noise + ROUNDING * columns.abs().amax(dim=-2, keepdim=True))

    def refit(self, directions: Tensor) -> Tensor:
        """Each of `directions (k, B)` anew, by least squares on all the rows of L that it maps to 0."""
        silent = self.is_zero(directions).to(self.left.dtype)
        gram = torch.einsum("mk,mi,mj->kij", silent, self.left, self.left)
        again: Tensor = torch.linalg.eigh(gram).eigenvectors[:, :, 0]
        return again

    def distinct(self, directions: Tensor) -> Tensor:
        """Of `directions (k, B)` each once, those with the most zeros first; compared as columns of dZ."""
        order = self.is_zero(directions).sum(dim=0).argsort(descending=True, stable=True)
        directions = directions[order]
        columns = self.columns(directions)
        left, kept = torch.arange(len(directions)), []
        while len(left):
            kept.append(left[0])
            left = left[(columns[left] @ columns[left[0]]).abs() < 1 - SAME]
        return directions[torch.stack(kept)] if kept else directions

    def independent(self, directions: Tensor) -> Tensor:
        """Which of `directions (k, B)`, the first ones first, those before do not span (Gram and Schmidt)."""
        rest, taken = self.columns(directions), list[int]()
        for index in range(len(rest)):
            length = float(rest[index].norm())
            if length > math.sqrt(SAME) and len(taken) < self.size:
                taken.append(index)
                along = rest[index] / length
                rest = rest - torch.outer(rest @ along, along)
        return torch.tensor(taken, dtype=torch.long)

    def columns(self, directions: Tensor) -> Tensor:
        """Coordinates `(k, B)`, of length 1, of the columns L q in the basis of L's singular vectors."""
        scaled = directions * self.left.norm(dim=0)
        return torch.div(scaled, scaled.norm(dim=1, keepdim=True).clamp(min=TINY))

    def inputs(self, directions: Tensor) -> Tensor:
        """X^T `(..., B, in + 1)` = Q^-1 R for Q^T = `directions (..., B, B)`; the last input is 1, as the bias's is.

        Not finite where Q cannot be inverted.
        """
        rows, _ = torch.linalg.solve_ex(directions.mT, self.right.expand(*directions.shape[:-2], -1, -1))
        scale = rows[..., -1:]
        result: Tensor = rows / torch.where(scale.abs() > TINY, scale, TINY)
        return result
