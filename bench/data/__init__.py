"""Data sets with fixed splits, and partitions of them among clients."""

from bench.data.datasets import SPECS, Dataset, DatasetSpec, Source, Split, adopt, available, load
from bench.data.partitions import SCHEMES, Deal, class_counts, partition, shard_size

__all__ = [
    "SCHEMES",
    "SPECS",
    "Dataset",
    "DatasetSpec",
    "Deal",
    "Source",
    "Split",
    "adopt",
    "available",
    "class_counts",
    "load",
    "partition",
    "shard_size",
]
