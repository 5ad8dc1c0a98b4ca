"""The public path of `bench.base.errors`, for packages of others."""

from bench.base.errors import (
    BadInputError,
    DivergedError,
    require,
    require_somebody,
)

__all__ = [
    "BadInputError",
    "DivergedError",
    "require",
    "require_somebody",
]
