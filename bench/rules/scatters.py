"""Eigenvalues of the scatters of many subsets of rows at once, from their Gram matrix."""

import numpy as np

POWER_STEPS = 8


def lower_bounds(g: np.ndarray, member: np.ndarray) -> np.ndarray:
    """Rayleigh quotients `(s,)` of the scatter of each subset, a row of `member (s, n)`, after some power steps."""
    inside = np.ascontiguousarray(member.T)  # (n, s): a sum over a subset's rows adds up long vectors
    size = member[0].sum()
    scaled = g / max(g.diagonal().max(), np.finfo(float).tiny)  # so that some steps neither overflow nor vanish
    vectors, moved = np.empty_like(inside), np.empty_like(inside)

    def centre(products: np.ndarray) -> None:
        np.multiply(products, inside, out=vectors)
        np.multiply(inside, vectors.sum(axis=0) / size, out=moved)
        np.subtract(vectors, moved, out=vectors)

    def squares() -> np.ndarray:
        result: np.ndarray = np.einsum("ns,ns->s", vectors, vectors).clip(min=np.finfo(float).tiny)
        return result

    centre(np.linalg.eigh(g)[1][:, -1:])
    for step in range(POWER_STEPS):
        centre(np.matmul(scaled, vectors, out=moved))
        if step == POWER_STEPS // 2:
            np.divide(vectors, np.sqrt(squares()), out=vectors)
    np.subtract(
        vectors, np.multiply(inside, vectors.sum(axis=0) / size, out=moved), out=vectors
    )  # what is all rounding
    quotients: np.ndarray = np.einsum("ns,ns->s", np.matmul(g, vectors, out=moved), vectors) / squares()
    return quotients


def largest_eigenvalues(g: np.ndarray, member: np.ndarray) -> np.ndarray:
    """The largest eigenvalue `(s,)` of the scatter of each subset, a row of `member (s, n)`."""
    rows = np.nonzero(member)[1].reshape(len(member), -1)
    scatter = g[rows[:, :, None], rows[:, None, :]]
    scatter -= scatter.mean(axis=1, keepdims=True)
    scatter -= scatter.mean(axis=2, keepdims=True)
    largest: np.ndarray = np.linalg.eigvalsh(scatter)[:, -1]
    return largest
