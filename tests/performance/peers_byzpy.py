"""ByzPy's side of `peers_comparison.py`: its public classes on a list of tensors, called or in its pool of two."""

import asyncio
from collections.abc import Callable
from typing import Any

import torch
from byzpy import OperatorExecutor
from byzpy.aggregators.coordinate_wise.mean_of_medians import MeanOfMedians
from byzpy.aggregators.coordinate_wise.median import CoordinateWiseMedian
from byzpy.aggregators.coordinate_wise.trimmed_mean import CoordinateWiseTrimmedMean
from byzpy.aggregators.geometric_wise.geometric_median import GeometricMedian
from byzpy.aggregators.geometric_wise.krum import Krum, MultiKrum
from byzpy.aggregators.geometric_wise.minimum_diameter_average import MinimumDiameterAveraging
from byzpy.aggregators.geometric_wise.monna import MoNNA
from byzpy.aggregators.geometric_wise.smea import SMEA
from byzpy.aggregators.norm_wise.caf import CAF
from byzpy.aggregators.norm_wise.center_clipping import CenteredClipping
from byzpy.aggregators.norm_wise.comparative_gradient_elimination import ComparativeGradientElimination
from byzpy.attacks.empire import EmpireAttack
from byzpy.attacks.gaussian import GaussianAttack
from byzpy.attacks.little import LittleAttack
from byzpy.engine.graph.pool import ActorPoolConfig
from byzpy.pre_aggregators.arc import ARC
from byzpy.pre_aggregators.bucketing import Bucketing
from byzpy.pre_aggregators.clipping import Clipping
from byzpy.pre_aggregators.nnm import NearestNeighborMixing
from peers_timing import Call, main

POOL = ActorPoolConfig(backend="process", count=2)


def permutation(count: int) -> list[int]:
    """The one that our generator, with the same seed, draws."""
    order: list[int] = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    return order


MADE: dict[str, Callable[[dict[str, Any]], Any]] = {
    "trimmed_mean": lambda case: CoordinateWiseTrimmedMean(case["f"], chunk_size=8192),
    "median": lambda _: CoordinateWiseMedian(chunk_size=8192),
    "meamed": lambda case: MeanOfMedians(case["f"], chunk_size=8192),
    "krum": lambda case: Krum(case["f"]),
    "multi_krum": lambda case: MultiKrum(case["f"], case["selected"], chunk_size=20),
    "geometric_median": lambda _: GeometricMedian(chunk_size=8),
    "centered_clipping": lambda case: CenteredClipping(c_tau=case["tau"], M=case["steps"], init="zero", chunk_size=32),
    "mda": lambda case: MinimumDiameterAveraging(case["f"], chunk_size=256),
    "smea": lambda case: SMEA(case["f"], chunk_size=256),
    "caf": lambda case: CAF(case["f"], chunk_size=32),
    "monna": lambda case: MoNNA(case["f"], chunk_size=32),
    "cge": lambda case: ComparativeGradientElimination(case["f"], chunk_size=16384),
    "nnm": lambda case: NearestNeighborMixing(case["f"], feature_chunk_size=2048),
    "bucketing": lambda case: Bucketing(case["size"], perm=permutation(case["n"])),
    "clipping": lambda case: Clipping(case["bound"]),
    "arc": lambda case: ARC(case["f"], chunk_size=256),
    "alie": lambda case: LittleAttack(case["f"], chunk_size=8192),
    "ipm": lambda case: EmpireAttack(-case["epsilon"], chunk_size=32),
    "gaussian": lambda _: GaussianAttack(seed=0, chunk_size=16384),
}
"""The aggregator, pre-aggregation or attack, with the chunk sizes of ByzPy's own benchmark."""

ATTACKS = ("alie", "ipm", "gaussian")
PRE_AGGREGATIONS = ("nnm", "bucketing", "clipping", "arc")


def workload(side: str, case: dict[str, Any]) -> Call | None:
    if case["work"] not in MADE:
        return None
    operator = MADE[case["work"]](case)
    if side == "byzpy_pool":
        return pooled(operator, case)
    method = "pre_aggregate" if case["work"] in PRE_AGGREGATIONS else "aggregate"
    if case["work"] in ATTACKS:
        return Call(lambda rows: operator.apply(honest_grads=rows), list)
    return Call(getattr(operator, method), list)


def pooled(operator: Any, case: dict[str, Any]) -> Call:
    """Two processes, started once; a call is a run of the executor."""
    key = "honest_grads" if case["work"] in ATTACKS else operator.input_key
    executor = OperatorExecutor(operator, input_keys=(key,), pool_config=POOL)
    loop = asyncio.new_event_loop()
    return Call(lambda rows: loop.run_until_complete(executor.run({key: rows})), list)


if __name__ == "__main__":
    main(workload, ("byzpy", "torch", "numpy"))
