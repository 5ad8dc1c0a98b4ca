"""The public path of `bench.attacking.inversion`, for packages of others."""

from bench.attacking.inversion import (
    LEAST_FLIP,
    SHARPNESS,
    Derivatives,
    FastInversion,
    Matcher,
    Observation,
    Pullback,
    Slope,
    inferred_labels,
    matcher,
    observations,
    pullback,
    through,
    whole_counts,
)

__all__ = [
    "LEAST_FLIP",
    "SHARPNESS",
    "Derivatives",
    "FastInversion",
    "Matcher",
    "Observation",
    "Pullback",
    "Slope",
    "inferred_labels",
    "matcher",
    "observations",
    "pullback",
    "through",
    "whole_counts",
]
