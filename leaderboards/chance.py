"""Accuracy at chance: no better than the best constant answer, by more than the luck of one test split."""

import math
from collections.abc import Iterable, Mapping

from bench.records import Record
from leaderboards.estimates import Estimate

CONSTANT: Mapping[str, tuple[float, int]] = {
    "digits": (36 / 300, 300),
    "mnist": (1135 / 10_000, 10_000),
    "fashion-mnist": (0.1, 10_000),
    "cifar10": (0.1, 10_000),
    "cifar10-scattering": (0.1, 10_000),
    "cifar100-sample": (0.01, 100),
}
"""By data set: the share of the most frequent class in the test split, and the split's images."""

Z = 1.645
"""The one-sided 95 % quantile of the normal distribution."""

Floors = Mapping[str, float]
"""By row, the highest accuracy that counts as chance."""


def floors(records: Iterable[Record]) -> Floors:
    """That of each row's data set; 0 where the data set is not known here, so that only a failure counts as nothing."""
    datasets = {record.cell.label: record.cell.federation.dataset for record in records}
    return {row: floor(dataset) for row, dataset in datasets.items()}


def floor(dataset: str) -> float:
    """`p + z sqrt(p (1 - p) / n)`: what the luck of n images makes of accuracy p, by the normal approximation."""
    if dataset not in CONSTANT:
        return 0.0
    p, n = CONSTANT[dataset]
    return p + Z * math.sqrt(p * (1 - p) / n)


def grain(records: Iterable[Record]) -> float:
    """The step in which accuracies are counted, one image of the smallest test split; 0 where none is known."""
    known = [CONSTANT[name][1] for record in records if (name := record.cell.federation.dataset) in CONSTANT]
    return 1 / min(known) if known else 0.0


def is_worthless(value: Estimate, floor: float) -> bool:
    """Whether the model failed, or knows nothing of its images; False where nothing was measured."""
    return bool(value.failed) or value.score <= floor
