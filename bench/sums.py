"""The public path of `bench.protocol.sums`, for packages of others."""

from bench.protocol.sums import (
    SumDefense,
    Sums,
    plays_in_sums,
)

__all__ = [
    "SumDefense",
    "Sums",
    "plays_in_sums",
]
