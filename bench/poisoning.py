"""The public path of `bench.attacking.poisoning`, for packages of others."""

from bench.attacking.poisoning import (
    DataFacts as DataFacts,
)
from bench.attacking.poisoning import (
    DataPoisoning as DataPoisoning,
)
from bench.attacking.poisoning import (
    poison_shards as poison_shards,
)
