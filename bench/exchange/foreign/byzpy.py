"""ByzPy's aggregators, pre-aggregations and attacks: operators that are called with a list of tensors `(d,)`."""

import importlib
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bench.exchange.foreign.entry import Apply, Entry, Kind, built, takes

AGGREGATORS, MIXINGS, ATTACKS = "byzpy.aggregators.", "byzpy.pre_aggregators.", "byzpy.attacks."
NAMES: dict[str, tuple[str, Kind, str, str]] = {
    "CoordinateWiseMedian": (f"{AGGREGATORS}coordinate_wise.median", "rule", "median", ""),
    "CoordinateWiseTrimmedMean": (f"{AGGREGATORS}coordinate_wise.trimmed_mean", "rule", "trimmed_mean", ""),
    "MeanOfMedians": (f"{AGGREGATORS}coordinate_wise.mean_of_medians", "rule", "meamed", ""),
    "Krum": (f"{AGGREGATORS}geometric_wise.krum", "rule", "krum", ""),
    "MultiKrum": (f"{AGGREGATORS}geometric_wise.krum", "rule", "multi_krum", "q = n - f"),
    "GeometricMedian": (f"{AGGREGATORS}geometric_wise.geometric_median", "rule", "geometric_median", "its defaults"),
    "MinimumDiameterAveraging": (f"{AGGREGATORS}geometric_wise.minimum_diameter_average", "rule", "mda", ""),
    "MoNNA": (f"{AGGREGATORS}geometric_wise.monna", "rule", "monna", "reference_index = 0"),
    "SMEA": (f"{AGGREGATORS}geometric_wise.smea", "rule", "smea", ""),
    "CAF": (f"{AGGREGATORS}norm_wise.caf", "rule", "caf", ""),
    "CenteredClipping": (
        f"{AGGREGATORS}norm_wise.center_clipping",
        "rule",
        "centered_clipping",
        "c_tau = 10, M = 10 steps and init = mean, its defaults",
    ),
    "ComparativeGradientElimination": (
        f"{AGGREGATORS}norm_wise.comparative_gradient_elimination",
        "rule",
        "cge",
        "",
    ),
    "NearestNeighborMixing": (f"{MIXINGS}nnm", "mixing", "nnm", ""),
    "Bucketing": (f"{MIXINGS}bucketing", "mixing", "bucketing", "bucket_size = 2"),
    "Clipping": (f"{MIXINGS}clipping", "mixing", "clipping", "threshold = 2, its default"),
    "ARC": (f"{MIXINGS}arc", "mixing", "arc", ""),
    "EmpireAttack": (f"{ATTACKS}empire", "attack", "ipm", "scale = -1, its default"),
    "LittleAttack": (f"{ATTACKS}little", "attack", "alie", "z of its own formula"),
    "MimicAttack": (f"{ATTACKS}mimic", "attack", "mimic", "epsilon = 0"),
    "InfAttack": (f"{ATTACKS}inf", "attack", "", ""),
    "GaussianAttack": (f"{ATTACKS}gaussian", "attack", "gaussian", ""),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "CenteredClipping": {"tau": 10.0, "iterations": 10},
    "Clipping": {"bound": 2.0},
    "EmpireAttack": {"epsilon": 1.0},
}
FIXED: dict[str, dict[str, Any]] = {"CenteredClipping": {"c_tau": 10.0}, "Bucketing": {"bucket_size": 2}}
RANDOM = ("Bucketing", "GaussianAttack")
CLOSE = {"GeometricMedian": 1e-4, "CenteredClipping": 1e-4, "LittleAttack": 1e-6}


def _maker(name: str, module: str, kind: Kind) -> Any:
    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
        there = getattr(importlib.import_module(module), name)
        given = dict(FIXED.get(name, {}))
        if takes(there, "f"):
            given["f"] = f
        if takes(there, "q"):
            given["q"] = n - f
        called = built(there, {**given, **parameters}, f"byzpy {name}")
        if kind == "attack":
            return lambda rows: torch.as_tensor(called.apply(honest_grads=list(rows)))
        if kind == "mixing":
            return lambda rows: _stacked(called.pre_aggregate(list(rows)))
        return lambda rows: torch.as_tensor(called.aggregate(list(rows)))

    return make


def _stacked(mixed: Any) -> Tensor:
    return torch.stack([torch.as_tensor(row) for row in mixed])


def entries() -> dict[str, Entry]:
    """All operators of the names above."""
    return {
        name: Entry(
            "byzpy",
            name,
            kind,
            _maker(name, module, kind),
            ours,
            told,
            SETTINGS.get(name, {}),
            random=name in RANDOM,
            close=CLOSE.get(name, 1e-9),
        )
        for name, (module, kind, ours, told) in NAMES.items()
    }
