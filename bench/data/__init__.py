"""Data sets with fixed splits, and partitions of them among clients."""

from bench.data.arrays import from_arrays, from_torch
from bench.data.datasets import (
    Dataset,
    DatasetSpec,
    Source,
    Split,
    adopt,
    available,
    changed,
    embedded,
    in_a_root,
    load,
)
from bench.data.partitions import LAWS, SCHEMES, Deal, class_counts, client_sizes, partition, shard_size

__all__ = [
    "LAWS",
    "SCHEMES",
    "Dataset",
    "DatasetSpec",
    "Deal",
    "Source",
    "Split",
    "adopt",
    "available",
    "changed",
    "class_counts",
    "client_sizes",
    "embedded",
    "from_arrays",
    "from_torch",
    "in_a_root",
    "load",
    "partition",
    "shard_size",
]
