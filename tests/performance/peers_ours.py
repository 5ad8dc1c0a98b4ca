"""Our side of `peers_comparison.py`: the public functions of attacks and defenses, on a tensor `(n, d)`."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from peers_timing import Call, main
from scipy.stats import norm
from torch import Tensor

from attacks.alie import alie
from attacks.gaussian import gaussian
from attacks.ipm import ipm
from bench.protocol import clip
from defenses.arc import arc
from defenses.bucketing import bucketing
from defenses.caf import caf
from defenses.centered_clipping import centered_clipping
from defenses.cge import cge
from defenses.geometric_median import geometric_median
from defenses.krum import krum
from defenses.mda import mda
from defenses.meamed import meamed
from defenses.median import coordinate_median
from defenses.monna import monna
from defenses.multi_krum import multi_krum
from defenses.nnm import nnm
from defenses.smea import smea
from defenses.trimmed_mean import trimmed_mean

Case = dict[str, Any]
Work = Callable[[Tensor, Case], Tensor]


def byzpy_z(n: int, f: int) -> float:
    """(n - s) / n where the paper has (n - f - s) / (n - f), with s = floor(n / 2 + 1) - f."""
    return float(norm.ppf((n - (n // 2 + 1 - f)) / n))


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


OURS: dict[str, Work] = {
    "trimmed_mean": lambda x, case: trimmed_mean(x, case["f"]),
    "median": lambda x, case: coordinate_median(x),
    "meamed": lambda x, case: meamed(x, case["f"]),
    "krum": lambda x, case: krum(x, case["f"]),
    "multi_krum": lambda x, case: multi_krum(x, case["f"], case["selected"]),
    "geometric_median": lambda x, case: geometric_median(x),
    "centered_clipping": lambda x, case: centered_clipping(x, tau=case["tau"], iterations=case["steps"]),
    "mda": lambda x, case: mda(x, case["f"]),
    "smea": lambda x, case: smea(x, case["f"]),
    "caf": lambda x, case: caf(x, case["f"]),
    "monna": lambda x, case: monna(x, case["f"]),
    "cge": lambda x, case: cge(x, case["f"]),
    "nnm": lambda x, case: nnm(x, case["f"]),
    "bucketing": lambda x, case: bucketing(x, seeded(), case["size"]),
    "clipping": lambda x, case: clip(x, case["bound"]),
    "arc": lambda x, case: arc(x, case["f"]),
    "alie": lambda x, case: alie(x, case["f"]),
    "ipm": lambda x, case: ipm(x, 1, case["epsilon"]),
    "gaussian": lambda x, case: gaussian(x, 1, 1.0, seeded()),
}
"""What is timed, as the papers define it."""

BYZFL, BYZPY = ("byzfl", "byzfl_numpy"), ("byzpy", "byzpy_pool")
ALIKE: dict[tuple[str, tuple[str, str]], Work] = {
    ("multi_krum", BYZFL): lambda x, case: multi_krum(x, case["f"], variant="one_neighbour_more"),
    ("multi_krum", BYZPY): lambda x, case: multi_krum(x, case["f"], case["selected"], "one_neighbour_more"),
    ("krum", BYZFL): lambda x, case: krum(x, case["f"], variant="one_neighbour_more"),
    ("krum", BYZPY): lambda x, case: krum(x, case["f"], variant="one_neighbour_more"),
    ("alie", BYZFL): lambda x, case: alie(x, 1, case["z"], ddof=1),
    ("alie", BYZPY): lambda x, case: alie(x, 1, byzpy_z(case["n"] + case["f"], case["f"])),
}
"""Ours with the peer's choice of what the paper is read to mean."""

UNLIKE: dict[tuple[str, tuple[str, str]], str] = {
    ("median", BYZPY): "the lower middle value of an even count",
    ("meamed", BYZPY): "around the lower middle value",
    ("smea", BYZFL): "one random power step",
    ("caf", BYZFL): "one random power step",
    ("caf", BYZPY): "three power steps",
    ("gaussian", BYZFL): "other draws",
    ("gaussian", BYZPY): "other draws",
}
"""Where no choice of ours gives the peer's answer, and why."""


def like(case: Case, side: str, x: Tensor) -> Tensor | str:
    """Our answer to a peer's definition, or why there is none."""
    for (work, sides), reason in UNLIKE.items():
        if work == case["work"] and side in sides:
            return reason
    same = (call for (work, sides), call in ALIKE.items() if work == case["work"] and side in sides)
    answer: Tensor = torch.atleast_2d(next(same, OURS[case["work"]])(x, case)).double()
    return answer


def workload(side: str, case: Case) -> Call | None:
    work = OURS[case["work"]]
    return Call(lambda rows: work(rows, case))


def stacking(told: dict[str, Any], rows: Tensor) -> dict[str, float]:
    """What it costs to make the tensor of a list of rows."""
    single, seconds = [row.clone() for row in rows], []
    for _ in range(told["repeats"] + 1):
        start = time.perf_counter()
        torch.stack(single)
        seconds.append(time.perf_counter() - start)
    return {"stack_seconds": statistics.median(seconds[1:])}


if __name__ == "__main__":
    main(workload, ("fedsiege", "torch", "numpy"), stacking)
