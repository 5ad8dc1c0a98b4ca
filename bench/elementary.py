"""The public path of `bench.base.elementary`, for packages of others."""

from bench.base.elementary import (
    distances,
    log10,
    raised,
    sqrt,
)

__all__ = [
    "distances",
    "log10",
    "raised",
    "sqrt",
]
