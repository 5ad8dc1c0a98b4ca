"""What people give as numbers, as numpy's arrays."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def as_numbers(scores: ArrayLike, name: str) -> NDArray[np.float64]:
    """As float64; `ValueError` for what numpy makes no such array of, as of a tensor that requires grad."""
    try:
        return np.asarray(scores, dtype=np.float64)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"{name} is {type(scores).__name__}, but must be what numpy makes numbers of") from error
