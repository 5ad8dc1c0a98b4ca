"""ByzFL's side of `peers_comparison.py`: its public classes on a torch tensor or a numpy array; needs ByzFL only."""

from collections.abc import Callable
from typing import Any

import byzfl
import numpy as np
import torch
from peers_timing import Call, main

SPOILS = ("clipping", "arc")


MADE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "trimmed_mean": lambda case: byzfl.TrMean(case["f"]),
    "median": lambda _: byzfl.Median(),
    "meamed": lambda case: byzfl.Meamed(case["f"]),
    "krum": lambda case: byzfl.Krum(case["f"]),
    "multi_krum": lambda case: byzfl.MultiKrum(case["f"]),
    "geometric_median": lambda _: byzfl.GeometricMedian(),
    "centered_clipping": lambda case: byzfl.CenteredClipping(L=case["steps"], tau=case["tau"]),
    "mda": lambda case: byzfl.MDA(case["f"]),
    "smea": lambda case: byzfl.SMEA(case["f"]),
    "caf": lambda case: byzfl.CAF(case["f"]),
    "monna": lambda case: byzfl.MoNNA(case["f"]),
    "nnm": lambda case: byzfl.NNM(case["f"]),
    "bucketing": lambda case: byzfl.Bucketing(case["size"]),
    "clipping": lambda case: byzfl.Clipping(case["bound"]),
    "arc": lambda case: byzfl.ARC(case["f"]),
    "alie": lambda case: byzfl.ALittleIsEnough(case["z"]),
    "ipm": lambda case: byzfl.InnerProductManipulation(case["epsilon"]),
    "gaussian": lambda _: byzfl.Gaussian(),
}
"""A fresh aggregator, pre-aggregation or attack, where ByzFL has one."""


def workload(side: str, case: dict[str, Any]) -> Call | None:
    """A new object for every call: `CenteredClipping` goes on from its last answer."""
    make = MADE.get(case["work"])
    if make is None:
        return None

    def given(rows: torch.Tensor) -> torch.Tensor | np.ndarray:
        return rows.numpy() if side == "byzfl_numpy" else rows

    return Call(lambda rows: make(case)(rows), given, spoils=case["work"] in SPOILS)


if __name__ == "__main__":
    main(workload, ("byzfl", "torch", "numpy"))
