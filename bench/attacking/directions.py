"""Losses that see a gradient's direction and not its length, with their derivatives written out."""

import torch
from torch import Tensor

from bench.attacking.inversion import SHARPNESS, Slope


def variation_slope(images: Tensor) -> Tensor:
    """The derivative of `total_variation` by the images, of their shape: signs of the differences, over their number.

    0 where neighbours are equal, as autograd has it.
    """
    down, across = images.diff(dim=-2).sign(), images.diff(dim=-1).sign()
    down, across = down / max(1, down[0].numel()), across / max(1, across[0].numel())
    slope = torch.zeros_like(images)
    slope[..., 1:, :] += down
    slope[..., :-1, :] -= down
    slope[..., 1:] += across
    slope[..., :-1] -= across
    return slope


def cosine_slope(targets: Tensor) -> Slope:
    """`cosine_distance` from `targets (k, d)`, and its derivative: (cos * x / |x| - t / |t|) / |x|."""
    unit = targets / lengths(targets)

    def slope(vectors: Tensor) -> tuple[Tensor, Tensor]:
        length = lengths(vectors)
        own = vectors / length
        along = (unit * (own / length)).sum(dim=1, keepdim=True)
        return 1 - (own * unit).sum(dim=1), along * own - unit / length

    return slope


def lengths(vectors: Tensor) -> Tensor:
    """Norms of rows `(k, 1)` of any scale; 1 for a row of zeros, which has no direction."""
    length: Tensor = torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    if not bool(((length > 1e-12) & (length < 1e12)).all()):  # where float32's squares round, vanish or overflow
        length = torch.linalg.vector_norm(vectors, dim=1, keepdim=True, dtype=torch.float64).to(vectors)
    return torch.where(length < torch.finfo(vectors.dtype).tiny, 1, length)


def soft_signs(values: Tensor) -> Tensor:
    """Rows `(k, d)` through tanh, as sharp as the likelihood of DLG is."""
    return torch.tanh(values / _width(values))


def _width(values: Tensor) -> Tensor:
    return 2 * SHARPNESS * values.abs().mean(dim=1, keepdim=True)


def soft_signs_slope(distance: Slope, offset: Tensor, lr: float) -> Slope:
    """A loss of `soft_signs(offset + lr * gradients)` as a loss of the gradients `(k, d)`."""

    def slope(gradients: Tensor) -> tuple[Tensor, Tensor]:
        u = offset + lr * gradients
        width = _width(u)
        signs = torch.tanh(u / width)
        loss, by_signs = distance(signs)
        by_scaled = torch.ops.aten.tanh_backward(by_signs, signs)  # rounds as autograd does, in one pass
        by_width = -(by_scaled * (u / width / width)).sum(dim=1, keepdim=True)
        by_mean = by_width * (2 * SHARPNESS) / u.shape[1]
        return loss, (by_scaled / width + by_mean * u.sign()) * lr

    return slope
