"""ByzFL's aggregators, pre-aggregations and attacks: classes that are called with a torch tensor `(n, d)`."""

from collections.abc import Mapping
from typing import Any

import byzfl
import torch

from bench.exchange.foreign.entry import Apply, Entry, Kind, built, takes

NAMES: dict[str, tuple[Kind, str, str]] = {
    "Average": ("rule", "fedavg", ""),
    "Median": ("rule", "median", ""),
    "TrMean": ("rule", "trimmed_mean", ""),
    "GeometricMedian": ("rule", "geometric_median", "nu = 0.1, T = 3, its defaults"),
    "Krum": ("rule", "krum", ""),
    "MultiKrum": ("rule", "multi_krum", "it always selects n - f"),
    "CenteredClipping": ("rule", "centered_clipping", "tau = 100, L = 1, its defaults"),
    "MDA": ("rule", "mda", ""),
    "MoNNA": ("rule", "monna", "idx = 0"),
    "Meamed": ("rule", "meamed", ""),
    "CAF": ("rule", "caf", ""),
    "SMEA": ("rule", "smea", ""),
    "NNM": ("mixing", "nnm", ""),
    "Bucketing": ("mixing", "bucketing", "s = 2"),
    "Clipping": ("mixing", "clipping", "c = 2, its default"),
    "ARC": ("mixing", "arc", ""),
    "SignFlipping": ("attack", "sign_flip", ""),
    "InnerProductManipulation": ("attack", "ipm", "tau = 2, its default"),
    "ALittleIsEnough": ("attack", "alie", "tau = 1.5, its default"),
    "Mimic": ("attack", "mimic", "epsilon = 0"),
    "Inf": ("attack", "", ""),
    "Gaussian": ("attack", "gaussian", ""),
}
SETTINGS: dict[str, dict[str, Any]] = {
    "CenteredClipping": {"tau": 100.0},
    "Clipping": {"bound": 2.0},
    "InnerProductManipulation": {"epsilon": 2.0},
    "ALittleIsEnough": {"z": 1.5},
}
RANDOM = ("Bucketing", "Gaussian")
CLOSE = {"GeometricMedian": 1e-4}


def _maker(name: str, kind: Kind) -> Any:
    there = getattr(byzfl, name)

    def make(n: int, f: int, parameters: Mapping[str, Any]) -> Apply:
        given: dict[str, Any] = {"f": f} if takes(there.__init__, "f") and kind != "attack" else {}
        if name == "Bucketing":
            given["s"] = 2
        called = built(there, {**given, **parameters}, f"byzfl {name}")
        return lambda rows: torch.as_tensor(called(rows))

    return make


def entries() -> dict[str, Entry]:
    """All that the installed version has of the names above."""
    return {
        name: Entry(
            "byzfl",
            name,
            kind,
            _maker(name, kind),
            ours,
            told,
            SETTINGS.get(name, {}),
            remembers=name == "CenteredClipping",
            random=name in RANDOM,
            close=CLOSE.get(name, 1e-9),
        )
        for name, (kind, ours, told) in NAMES.items()
        if hasattr(byzfl, name)
    }
