"""The two ways to look for a mean weighted by inverse distances: from the rows themselves, or from their products.

A step of Weiszfeld's looks at each of the n rows, d numbers long, or, where they are longer than there are many, at the
Gram matrix: distances from a mean follow from it, so that a step costs n x n, whatever the dimension.
"""

import math
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from bench.base.blocks import per_thread
from bench.rules.gram import check_square, norms_of, over_distances

ROUNDING = 1e-7
"""Of a row's length, seen from the Gram matrix's centre: below it a distance is rounding error."""

ROW_ROUNDING = 1e-14
"""The same where the rows themselves are looked at, whose differences are float64."""

GROUP_BYTES = 2**19
"""A core looks at rows of about this size, in float64, at a time: three times while they are in its cache."""


class Point(Protocol):
    """Where the steps have led so far: a weighted mean of the rows."""

    def step(self) -> tuple[np.ndarray, float]:
        """Go on to the mean weighted by inverse distances: its weights `(n,)`, and how long the gradient was."""


class PointByProducts:
    """A point known by its inner products with the rows, which are those of a Gram matrix `(n, n)`."""

    def __init__(self, gram: Tensor, nu: float) -> None:
        check_square(gram)
        self.g = gram.cpu().numpy()
        self.norms = self.g.diagonal().copy()
        self.shortest = np.maximum(nu, ROUNDING * np.sqrt(self.norms.clip(min=0)))
        # A row's median distance to all rows stands in for its distance to their median.
        pull = 1 / np.maximum(over_distances(gram, median_distances).cpu().numpy(), self.shortest)
        self.weights = pull / pull.sum()
        self.products = self.g @ self.weights

    def step(self) -> tuple[np.ndarray, float]:
        squared = self.norms - 2 * self.products + self.weights @ self.products
        pull = 1 / np.maximum(np.sqrt(np.maximum(squared, 0)), self.shortest)
        total = pull.sum()
        weights = pull / total
        products = self.g @ weights
        way = math.sqrt(max(0.0, (weights - self.weights) @ (products - self.products)))
        self.weights, self.products = weights, products
        return weights, total / len(pull) * way


def median_distances(squared: np.ndarray) -> np.ndarray:
    """The median `(b,)` of the distances in each row of `(b, n)`, given squared."""
    low, high = (squared.shape[1] - 1) // 2, squared.shape[1] // 2
    squared.partition(high, axis=1)
    median: np.ndarray = (np.sqrt(squared[:, : low + 1].max(axis=1)) + np.sqrt(squared[:, high])) / 2
    return median


class PointAmongRows:
    """A point `(d,)`, float64, from `start (d,)` on, that looks at the rows `(n, d)` in groups which stay in cache."""

    def __init__(self, messages: Tensor, nu: float, start: Tensor) -> None:
        self.shortest = norms_of(messages).mul_(ROW_ROUNDING).clamp_(min=nu)
        self.groups = messages.split(per_thread(torch.float64.itemsize * messages.shape[1], GROUP_BYTES))
        self.apart = torch.empty_like(self.groups[0], dtype=torch.float64)  # the first group is the largest
        self.at = start.double()

    def step(self) -> tuple[np.ndarray, float]:
        way, pull = torch.zeros_like(self.at), torch.empty_like(self.shortest)
        start = 0
        for rows in self.groups:
            these = slice(start, start := start + len(rows))
            apart = self.apart[: len(rows)].copy_(rows).sub_(self.at)
            distances = torch.linalg.vector_norm(apart, dim=1)
            pull[these] = 1 / torch.maximum(distances, self.shortest[these])
            way.addmv_(apart.mT, pull[these])
        total = pull.sum()
        way /= total
        self.at += way
        return (pull / total).cpu().numpy(), float(total / len(pull) * torch.linalg.vector_norm(way))
