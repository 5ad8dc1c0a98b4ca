"""The public path of `bench.attacking.poisoning`, for packages of others."""

from bench.attacking.poisoning import (
    DataFacts,
    DataPoisoning,
    poison_shards,
)

__all__ = [
    "DataFacts",
    "DataPoisoning",
    "poison_shards",
]
