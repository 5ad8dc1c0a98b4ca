"""Square roots, logarithms and distances that are the same bit for bit on every processor.

Torch takes these of a CPU tensor from MKL's vector library, which starts from RSQRTPS or RCPPS: first guesses that each
maker of processors tabulates as he likes. No variable of MKL changes that, `MKL_CBWR` neither. In float64 that is so of
the natural logarithm too, where `torch.xlogy` asks the C library, which has no such guess.
"""

from decimal import Context
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from bench.base.device import on_gpu

DIGITS = Context(prec=40)
"""So many that rounding them to the 16 of a float64 rounds the true value."""

Values = TypeVar("Values", np.ndarray, Tensor)


def sqrt(values: Tensor, out: Tensor | None = None) -> Tensor:
    """Square roots of a tensor's shape and dtype, correctly rounded (IEEE 754); NaN below 0. `out` may be `values`."""
    result = torch.empty_like(values) if out is None else out
    if on_gpu(values):
        return torch.sqrt(values, out=result)  # IEEE's there
    with np.errstate(invalid="ignore"):
        np.sqrt(values.numpy(), out=result.numpy())
    return result


def raised(values: Values, exponent: float) -> Values:
    """The values, each ** exponent; of 0.5 torch would make its own square root."""
    return sqrt(values) if exponent == 0.5 and isinstance(values, Tensor) else values**exponent


def log10(values: Tensor) -> Tensor:
    """Decimal logarithms of positive float64 values, correctly rounded; for few of them, as each takes 40 us."""
    rounded = [float(DIGITS.log10(DIGITS.create_decimal_from_float(value))) for value in values.flatten().tolist()]
    return torch.tensor(rounded, dtype=values.dtype, device=values.device).view_as(values)


def distances(rows: Tensor, others: Tensor) -> Tensor:
    """Euclidean distances `(..., n, m)` of the rows `(..., n, d)` from the others `(..., m, d)`.

    Never from products, which torch prefers for more than 25 rows: they cancel, and MKL takes the root.
    """
    return torch.cdist(rows, others, compute_mode="donot_use_mm_for_euclid_dist")
