"""LASA, layer-adaptive sparsified model aggregation (Xu, Zhang and Hu 2025): each layer has its own honest clients.

Every message is clipped to the median length, and of its weights the smallest are set to zero. In each layer count the
length, and the balance of signs, (positive - negative) / (positive + negative): who is further from the median than
lambda deviations in either is left out of that layer. The mean of the others is the layer's change.

The paper is "Achieving Byzantine-resilient federated learning via layer-adaptive sparsified model aggregation" (WACV
2025, arXiv 2409.01435). From its authors' code (JiiahaoXU/LASA, `algorithms/defense/lasa.py`, `utils/mask_help.py` and
`main.py`); of the paper the abstract was at hand.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor

from bench.base.elementary import sqrt
from bench.base.errors import require
from bench.models import Layer
from bench.protocol import Defense, Delivered, ServerRound, check_detached, check_messages
from bench.registry import register
from bench.rules import apply_weights, mean_of, norms_of

DENSE_OR_CONVOLUTIONAL = (2, 4)
"""Dimensions of tensors that are sparsified: weights, and no biases."""


BORDER = 1 - 1e-9
"""Who is at a radius by exact arithmetic is out, whichever way the last digits are rounded."""


def deviations(values: Tensor) -> Tensor:
    """How many standard deviations each of `values (n,)` is from their median; 0 where all are equal."""
    require(values.dim() == 1 and len(values) > 0, "values", tuple(values.shape), "(n,) numbers")
    check_detached(values, "values")
    off = (values - values.quantile(0.5)).abs()
    spread = sqrt((values - values.mean()).square().mean())
    return torch.where(off > 0, off / spread, 0.0)


def sign_balance(part: Tensor) -> Tensor:
    """(positive - negative) / (positive + negative) entries of each row of `part (n, k)`, `(n,)`, float64; 0 of none.

    The authors' (1 + (1 - sparsity) balance) / 2 is as many deviations from its median.
    """
    check_messages(part, "part")
    signs = torch.sign(part).double()
    return signs.sum(dim=1) / signs.abs().sum(dim=1).clamp(min=1)


def sparsified(messages: Tensor, layers: Sequence[Layer], sparsity: float) -> Tensor:
    """`(n, d)` without the share `sparsity` of smallest entries among each message's weights, over all layers.

    What is as large as the smallest of those that would stay is zero too, as in the authors' code.
    """
    check_messages(messages)
    require(0 <= sparsity < 1, "sparsity", sparsity, "at least 0 and below 1")
    weights = torch.zeros(messages.shape[1], dtype=torch.bool, device=messages.device)
    for layer in layers:
        weights[layer.entries] = len(layer.shape) in DENSE_OR_CONVOLUTIONAL
    count = int(weights.sum())
    kept = int(count * (1 - sparsity))
    if sparsity == 0 or not count:
        return messages
    sizes = messages[:, weights].abs()
    border = sizes.kthvalue(count - kept + 1, dim=1, keepdim=True).values if kept else sizes.amax(dim=1, keepdim=True)
    result = messages.clone()
    result[:, weights] = torch.where(sizes > border, messages[:, weights], 0.0)
    return result


def lasa(
    messages: Tensor,
    *,
    layers: Sequence[Layer] = (),
    sparsity: float = 0.3,
    lambda_n: float = 1.0,
    lambda_s: float = 1.0,
) -> Tensor:
    """The change `(d,)` of the model, layer by layer, from the messages `(n, d)`; without `layers` they are one.

    `lambda_n` is the radius of lengths and `lambda_s` that of the balance of signs. Where a layer's filters leave
    nobody, all count. Raises `ValueError` unless the radii are positive, 0 <= sparsity < 1, the layers are those of the
    messages, and these are finite.
    """
    check_messages(messages)
    for name, radius in (("lambda_n", lambda_n), ("lambda_s", lambda_s)):
        require(0 < radius < math.inf, name, radius, "positive and finite")
    d = messages.shape[1]
    layers = layers or (Layer("message", (1, d), slice(0, d)),)
    require(layers[-1].entries.stop == d, "layers", layers[-1].entries.stop, f"of {d} entries, as the messages")
    norms = norms_of(messages)
    bound = norms.median()  # of an even count the lower one, as in the authors' code
    scale = torch.where(norms > bound, bound / norms, 1.0).to(messages.dtype)
    kept = sparsified(messages * scale[:, None], layers, sparsity)
    return torch.cat([_mean_of_honest(kept[:, layer.entries], lambda_n, lambda_s) for layer in layers])


def _mean_of_honest(part: Tensor, lambda_n: float, lambda_s: float) -> Tensor:
    """The mean `(k,)` of the rows `(n, k)` of a layer that pass both filters."""
    near = deviations(norms_of(part)) < BORDER * lambda_n
    passed = near & (deviations(sign_balance(part)) < BORDER * lambda_s)
    rows = passed.nonzero()[:, 0] if bool(passed.any()) else torch.arange(len(part), device=part.device)
    return apply_weights(mean_of(rows, len(part)), part)


@register("defense", "lasa")
class LASA(Defense):
    """LASA with the radii and the sparsity of the authors' code, which takes other ones for some data sets."""

    breakdown = 0.5  # it goes by medians

    sparsity: float = Field(default=0.3, ge=0, lt=1)
    lambda_n: float = Field(default=1.0, gt=0)
    lambda_s: float = Field(default=1.0, gt=0)

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        return server.global_model + lasa(delivered.messages, layers=server.layers, **self.model_dump())
