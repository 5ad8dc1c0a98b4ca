"""Data sets with fixed splits, and partitions of them among clients."""

from bench.data.datasets import SPECS, Dataset, DatasetSpec, Source, Split, adopt, available, load
from bench.data.partitions import LAWS, SCHEMES, Deal, class_counts, client_sizes, partition, shard_size

__all__ = [
    "LAWS",
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
    "client_sizes",
    "load",
    "partition",
    "shard_size",
]
