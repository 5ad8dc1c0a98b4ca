"""Messages that are not finite are refused by every rule, also by those that look at no more than their own products.

Finite ones are not, however large: where a square overflows, all is looked at once more.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.protocol import Defense, Delivered, ServerRound, Setting
from bench.rules.gram import checked_gram, distances_to, norms_of
from defenses.arc import ARC, arc
from defenses.bucketing import bucketing
from defenses.bulyan import bulyan
from defenses.caf import CAF, caf
from defenses.centered_clipping import CenteredClipping, centered_clipping
from defenses.cge import CGE, cge
from defenses.clipped_clustering import ClippedClustering, clipped_clustering
from defenses.foolsgold import foolsgold
from defenses.foundation_fl import FoundationFL, foundation_fl
from defenses.geometric_median import GeometricMedian, geometric_median
from defenses.krum import Krum, krum
from defenses.lasa import LASA, lasa
from defenses.mda import mda
from defenses.meamed import meamed
from defenses.median import coordinate_median
from defenses.monna import MoNNA, monna
from defenses.multi_krum import MultiKrum, multi_krum
from defenses.nnm import NNM, nnm
from defenses.norm_clipping import NormClipping, norm_clipping
from defenses.signguard import SignGuard, signguard
from defenses.smea import smea
from defenses.trimmed_mean import trimmed_mean

N = 7
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "arc": lambda x: arc(x, 1),
    "bucketing": lambda x: bucketing(x, torch.Generator().manual_seed(0), 3),
    "bulyan": lambda x: bulyan(x, 1),
    "caf": lambda x: caf(x, 1),
    "centered_clipping": centered_clipping,
    "cge": lambda x: cge(x, 1),
    "checked_gram": checked_gram,
    "checked_gram with the origin": lambda x: checked_gram(x, origin=True),
    "clipped_clustering": clipped_clustering,
    "coordinate_median": coordinate_median,
    "distances_to": lambda x: distances_to(x[0], x),
    "foolsgold": foolsgold,
    "foundation_fl": foundation_fl,
    "geometric_median": geometric_median,
    "krum": lambda x: krum(x, 1),
    "lasa": lasa,
    "mda": lambda x: mda(x, 1),
    "meamed": lambda x: meamed(x, 1),
    "monna": lambda x: monna(x, 1),
    "multi_krum": lambda x: multi_krum(x, 1),
    "nnm": lambda x: nnm(x, 1),
    "norm_clipping": norm_clipping,
    "norms_of": norms_of,
    "signguard": lambda x: signguard(x, torch.Generator().manual_seed(0)),
    "smea": lambda x: smea(x, 1),
    "trimmed_mean": lambda x: trimmed_mean(x, 1),
}
RULES: list[Defense] = [
    ARC(rule="krum"),
    CAF(),
    CGE(),
    CenteredClipping(),
    ClippedClustering(),
    FoundationFL(),
    GeometricMedian(),
    Krum(),
    LASA(),
    MoNNA(),
    MultiKrum(),
    NNM(rule="trimmed_mean"),
    NNM(rule="norm_clipping"),
    NormClipping(),
    SignGuard(),
]
SPOILT: dict[str, dict[tuple[int, int], float]] = {
    "nan": {(3, 2): math.nan},
    "infinite": {(0, 0): math.inf},
    "minus infinite, last": {(N - 1, -1): -math.inf},
    "both in one column": {(1, 1): math.inf, (2, 1): -math.inf},
    "a row": {(4, column): math.inf for column in range(5)},
}


def messages(dim: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(N, dim, generator=torch.Generator().manual_seed(0), dtype=dtype)


def aggregate(rule: Defense, rows: Tensor) -> Tensor:
    setting = Setting(N, N, rows.shape[1], 1, 0.1, None, 1 / N, 1e-6)
    model, weights = torch.zeros(rows.shape[1], dtype=rows.dtype), torch.full((N,), 1 / N, dtype=rows.dtype)
    server = ServerRound(0, setting, model, weights, torch.Generator())
    return rule.aggregate(Delivered(rows, torch.arange(N)), server)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dim", [5, 4101])
@pytest.mark.parametrize("kind", SPOILT)
def test_messages_that_are_not_finite_are_refused(kind: str, dim: int, dtype: torch.dtype) -> None:
    rows = messages(dim, dtype)
    for place, value in SPOILT[kind].items():
        rows[place] = value
    for name, function in FUNCTIONS.items():
        with pytest.raises(ValueError, match="messages is 'not finite'"):
            pytest.fail(f"{name}: {function(rows)}")
    for rule in RULES:
        with pytest.raises(ValueError, match="messages is 'not finite'"):
            pytest.fail(f"{rule!r}: {aggregate(rule, rows)}")


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (3,)])
def test_messages_that_are_no_matrix_are_refused(shape: tuple[int, ...]) -> None:
    for function in (checked_gram, norms_of, lambda x: distances_to(torch.zeros(3), x)):
        with pytest.raises(ValueError, match=r"a non-empty \(n, d\) tensor"):
            function(torch.zeros(shape))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "bucketing"])
def test_finite_messages_are_not_refused_where_their_squares_or_sums_overflow(name: str) -> None:
    rows = messages(4101)
    rows[5] = 3e38
    assert bool(torch.isfinite(FUNCTIONS[name](rows)).all())


def test_buckets_of_large_messages_are_what_they_are() -> None:
    rows = torch.full((N, 4), 3e38)
    assert bucketing(rows, torch.Generator().manual_seed(0), 1).tolist() == rows.tolist()
