"""What the gradient of a linear layer tells of its inputs: the algebra of the analytic inversions.

With errors e at the outputs of a layer W x + b its gradients are dW = sum of e x^T and db = sum of e over the batch
(Phong et al. 2018; Geiping et al. 2020, proposition 3.1).
"""

from typing import NamedTuple

import torch
from torch import Tensor

from bench.attacking.inversion import LEAST_FLIP, Observation
from bench.base.elementary import distances
from bench.privacy.analysis.local import local_epsilon

TINY = torch.finfo(torch.float64).tiny


class Layer(NamedTuple):
    """Gradients of a linear layer: of its weights `(T, r, in)` and of its bias `(T, r)`, float64."""

    weight: Tensor
    bias: Tensor


def stacked(layer: Layer) -> Tensor:
    """`(T, r, in + 1)`: the bias is the weight of an input that is always 1."""
    return torch.cat([layer.weight, layer.bias.unsqueeze(2)], dim=2)


def without_noise(layer: Layer, rank: int) -> Layer:
    """The nearest layer gradient of this rank, that of a batch of so many images: its largest singular values.

    The maximum of the likelihood where the same noise is on dW and db (total least squares; Eckart and Young 1936).
    """
    u, s, v = torch.linalg.svd(stacked(layer), full_matrices=False)
    near = (u[..., :rank] * s[:, None, :rank]) @ v[:, :rank]
    return Layer(near[..., :-1], near[..., -1])


def combined(layer: Layer) -> Tensor:
    """The input x `(T, in)` that least squares finds in dW = db x^T: sum of db_i dW_i over sum of db_i^2.

    That is the maximum of the likelihood where noise is on dW, and any row's dW_i / db_i where there is none; 0 where
    all db_i are 0.
    """
    inside = (layer.bias.unsqueeze(1) @ layer.weight).squeeze(1)
    return inside / layer.bias.square().sum(dim=1, keepdim=True).clamp(min=TINY)


def repeated_rows(layer: Layer, count: int, same: float, lowest: Tensor, highest: Tensor) -> Tensor:
    """`count` inputs `(T, count, in)`, as distinct as they can be, on each of which as many rows agree as can.

    One after the other: the row dW_i / db_i to which most others are equal, up to the share `same` of its length, and
    least squares over all of these; they leave the contest. Of rows that nobody repeats the first is the one that lies
    best between the pixel values `lowest (in,)` and `highest (in,)`: averages with errors of both signs seldom do.
    Where no two rows agree, noise is on them, and where none is left, no more is known: the average over all of them.
    """
    open_rows = layer.bias.abs() > 1e-6 * layer.bias.abs().amax(dim=1, keepdim=True)
    rows = layer.weight / torch.where(open_rows, layer.bias, 1).unsqueeze(2)
    length = rows.norm(dim=2).clamp(min=TINY)
    alike = distances(rows, rows) <= same * length.unsqueeze(2)
    alike |= ((alike & open_rows.unsqueeze(1)).sum(dim=2).amax(dim=1) < 2)[:, None, None]
    outside = ((rows - rows.clamp(lowest, highest)).norm(dim=2) / length).clamp(max=0.99)
    results = []
    for _ in range(count):
        votes = (alike & open_rows.unsqueeze(1)).sum(dim=2) - outside
        best = votes.masked_fill(~open_rows, -1).argmax(dim=1)
        chosen = alike[torch.arange(len(best)), best] & open_rows
        used = chosen | ~chosen.any(dim=1, keepdim=True)
        results.append(combined(Layer(layer.weight, layer.bias * used)))
        open_rows = open_rows & ~chosen
    return torch.stack(results, dim=1)


def class_means(layer: Layer, counts: Tensor, scale: Tensor) -> Tensor:
    """The mean image of every class `(T, classes, in)` in a batch with `counts (T, classes)`, of softmax regression.

    Where all images get the same p, as before any training, dW_i = p_i mean - (n_i / B) mean_i, and the mean over the
    batch stands in the rows of classes without an image, which get it here. `scale (T, 1)` multiplies the gradient.
    """
    absent = counts == 0
    mean = combined(Layer(layer.weight, layer.bias * absent)).unsqueeze(1)
    share = scale * counts / counts.sum(dim=1, keepdim=True)
    less = (layer.bias.unsqueeze(2) * mean - layer.weight) / torch.where(absent, 1, share).unsqueeze(2)
    return mean + less.masked_fill(absent.unsqueeze(2), 0)


def gradient_signs(seen: Observation) -> Tensor:
    """The expected sign of g `(T, d)`, from -1 to 1, by the signs of offset + lr g.

    A sign against the offset's is that of g. Where they agree, in a share f of the coordinates, the offset has decided
    2 f - 1 of all signs, and (1 - f) / f of theirs is left of g's.
    """
    assert seen.offset is not None
    agree, against = (seen.target * seen.offset > 0), (seen.target * seen.offset < 0)
    f = agree.sum(dim=1, keepdim=True) / (agree | against).sum(dim=1, keepdim=True).clamp(min=1)
    f = f.clamp(min=0.5)
    return torch.where(agree, seen.target * (1 - f) / f, seen.target)


def common_signs(votes: Layer, gamma: float) -> tuple[Tensor, Tensor]:
    """The expected sign of the input `(T, in)`, from -1 to 1, by the signs of dW and db; the share `(T,)` against it.

    sign(dW_ij) sign(db_i) is the sign of x_j in every row. The db are as randomized as the rest, and rows that nothing
    activates have no sign: so rows are weighed by the best approximation of rank one, in which the bias's input is 1. A
    vote is worth the log-odds of a sign under the randomizer (DPBFL paper, eq. 6).
    """
    rows, _, inputs = torch.linalg.svd(stacked(votes), full_matrices=False)
    weights = rows[..., 0] * torch.where(inputs[:, 0, -1:] < 0, -1, 1)
    weights = weights / weights.abs().amax(dim=1, keepdim=True).clamp(min=TINY)
    log_odds = local_epsilon(max(gamma, LEAST_FLIP)) * (weights.unsqueeze(1) @ votes.weight).squeeze(1)
    against = votes.weight * weights.unsqueeze(2) * log_odds.unsqueeze(1) < 0
    return torch.tanh(log_odds / 2), against.double().mean(dim=(1, 2))


def unexplained(layer: Layer, inputs: Tensor) -> Tensor:
    """The share `(T,)` of dW's squares that no single input of `(T, B, in)` explains, each row by the best of them."""
    squares, bias = layer.weight.square().sum(dim=2).unsqueeze(1), layer.bias.unsqueeze(1)
    left = squares - 2 * bias * (inputs @ layer.weight.mT) + bias.square() * inputs.square().sum(dim=2, keepdim=True)
    return left.amin(dim=1).clamp(min=0).sum(dim=1) / squares.sum(dim=(1, 2)).clamp(min=TINY)
