"""The public path of `bench.rules.preaggregation`, for packages of others."""

from bench.rules.preaggregation import (
    Mixing,
    PreAggregation,
    require_rule,
)

__all__ = [
    "Mixing",
    "PreAggregation",
    "require_rule",
]
