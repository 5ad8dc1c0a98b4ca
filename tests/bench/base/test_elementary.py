"""Roots and logarithms: correctly rounded, which leaves a processor no choice; and nothing of ours takes others."""

import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy as np
import pytest
import torch
from torch import Tensor

from bench import registry
from bench.base.elementary import distances, log10, raised, sqrt
from bench.base.portable import NotPortable
from bench.data import datasets as data
from bench.data import load
from bench.plays.cell import run_cell
from bench.records import Record
from bench.threat import ByzantineAttack

Make = Callable[..., Any]


class ApproximateError(AssertionError):
    """An operation was called whose last bit depends on the maker of the processor."""


class Portable(NotPortable):
    """In here such an operation is an error."""

    def note(self, func: Any) -> None:
        raise ApproximateError(f"{func} is not the same on all processors: see bench.base.elementary")


def spread(dtype: torch.dtype, count: int = 5000) -> Tensor:
    """Positive numbers of all sizes."""
    normal = torch.randn(count, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return (8 * normal).exp().to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_root_is_correctly_rounded(dtype: torch.dtype) -> None:
    """That of a float32 by way of a float64, which is precise enough for it (Figueroa 1995)."""
    values = spread(dtype)
    assert torch.equal(sqrt(values), torch.tensor([math.sqrt(value) for value in values.tolist()], dtype=dtype))


@pytest.mark.parametrize(
    "values", [torch.tensor(2.0), torch.tensor([4.0]).expand(3, 2), torch.ones(3, 4).T, torch.ones(0)]
)
def test_a_root_has_the_shape_and_dtype_of_its_square(values: Tensor) -> None:
    before = values.clone()
    root = sqrt(values)
    assert (root.shape, root.dtype) == (values.shape, values.dtype)
    torch.testing.assert_close(root.square(), values)
    assert torch.equal(values, before)


def test_a_root_may_take_the_place_of_its_square() -> None:
    values = torch.tensor([1.0, 4.0, 9.0])
    assert sqrt(values, out=values) is values
    assert values.tolist() == [1.0, 2.0, 3.0]


def test_half_a_power_is_a_root() -> None:
    values = spread(torch.float64)
    assert torch.equal(raised(values, 0.5), sqrt(values))
    assert torch.equal(raised(values, 2), values * values)
    assert np.array_equal(raised(values.numpy(), 0.5), sqrt(values).numpy())


def test_a_root_of_what_has_none_is_as_torch_has_it() -> None:
    assert sqrt(torch.tensor([-0.0, math.inf])).tolist() == [0.0, math.inf]
    assert bool(sqrt(torch.tensor([-1.0, math.nan])).isnan().all())


def test_a_logarithm_is_correctly_rounded() -> None:
    values = spread(torch.float64, 500).view(50, 10)
    with mpmath.workdps(60):
        expected = [float(mpmath.log10(value)) for value in values.flatten().tolist()]
    assert log10(values).flatten().tolist() == expected
    assert log10(torch.tensor(100.0, dtype=torch.float64)).item() == 2.0
    assert log10(torch.tensor([math.inf, math.nan], dtype=torch.float64)).isnan().tolist() == [False, True]


def test_many_rows_are_as_far_apart_as_few() -> None:
    """From products the distances of close rows would be rounding error."""
    rows = 1000 + torch.rand(40, 7, generator=torch.Generator().manual_seed(0))
    expected = np.linalg.norm(rows.double().numpy()[:, None] - rows.double().numpy(), axis=2)
    assert distances(rows, rows).numpy() == pytest.approx(expected, rel=1e-5)


# ------------------------------------------------------------------------------------------------------ nothing else

PARAMETERS: dict[str, dict[str, Any]] = {
    "niss": {"num_shares": 3, "tau_squared": 0.2},
    "arc": {"rule": "trimmed_mean"},
    "audit": {"runs": 100, "dim": 10},
    "run_audit": {"canaries": 6},
    "collusion": {"starts": 1, "evaluations": 5, "rho": 0.5},
    "subspace": {"starts": 1, "evaluations": 5, "rho": 0.5},
    "dlg": {"starts": 1, "evaluations": 5},
    "inverting_gradients": {"starts": 1, "steps": 3},
    "label_shares": {"rehearsals": 2, "by": "rehearsals"},
    "weighted_collusion": {"starts": 1, "evaluations": 5, "rho": 0.5},
    "zero_shares": {"starts": 1, "evaluations": 5, "rho": 0.5},
    "membership_lira": {"rehearsals": 4, "on": "uploads"},
}
BYZANTINE = {"byzantine": 1 / 9}
ATTACKS = registry.names("attack")
TRAINED = [name for name in ATTACKS if issubclass(registry.get("attack", name), ByzantineAttack)]


def entry(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, **PARAMETERS.get(name, {}), **more}


@pytest.fixture
def alone(make_cell: Make, make_task: Make, forget: Callable[[], None]) -> Callable[..., Record]:
    """A cell of which nothing is known from another test, played without an operation that is not portable."""

    def record(defense: dict[str, Any], attack: dict[str, Any], **federation: Any) -> Record:
        forget()
        cell = make_cell(defense, attack)
        cell = cell.model_copy(update={"federation": cell.federation.model_copy(update=federation)})
        with Portable():
            return run_cell(make_task(cell)).record

    load("digits")
    return record


@pytest.mark.parametrize(
    "operation",
    [
        torch.sqrt,
        torch.Tensor.sqrt_,
        torch.log,
        torch.log10,
        torch.logit,
        torch.atan,
        lambda x: x**0.5,
        lambda x: torch.logsumexp(x, 0),
        lambda x: torch.cdist(x[:, None], x[:, None]),
    ],
)
def test_what_differs_between_processors_is_found(operation: Callable[[Tensor], Tensor]) -> None:
    with Portable(), pytest.raises(ApproximateError):
        operation(torch.linspace(0.1, 0.9, 30, dtype=torch.float64))


def test_what_does_not_is_let_through() -> None:
    values = torch.linspace(0.1, 0.9, 30, dtype=torch.float64)
    with Portable():
        assert bool(torch.isfinite(torch.xlogy(values, values) + values.exp() + values**2 + sqrt(values)).all())
        assert bool(torch.isfinite(values.float().log() + values.float().norm()).all())
        assert distances(values[:, None], values[:, None]).shape == (30, 30)


@pytest.mark.parametrize("name", registry.names("defense"))
def test_a_defense_computes_alike_on_all_processors(name: str, alone: Callable[..., Record]) -> None:
    for attack in ("alie", "min_max"):
        record = alone(entry(name), entry(attack, **BYZANTINE), assumed_byzantine=1 / 9)
        assert (record.status, record.error) == ("ok", None)


@pytest.mark.parametrize(
    ("name", "variant"),
    [("krum", {"variant": "unsquared"}), ("krum", {"variant": "fourth_power"}), ("niss", {"scale": "share"})],
)
def test_a_variant_computes_alike(name: str, variant: dict[str, str], alone: Callable[..., Record]) -> None:
    record = alone(entry(name, **variant), entry("sign_flip", **BYZANTINE))
    assert (record.status, record.error) == ("ok", None)


def test_a_data_set_is_normalised_alike() -> None:
    with Portable():
        made = data._made(data.DIGITS, None)
    assert torch.equal(made.std, load("digits").std)


@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.parametrize("defense", ["krum", "dpbfl"])
def test_a_forging_attack_computes_alike(name: str, defense: str, alone: Callable[..., Record]) -> None:
    record = alone(entry(defense), entry(name, **BYZANTINE))
    assert (record.status, record.error) == ("ok", None)


@pytest.mark.parametrize("name", [name for name in ATTACKS if name not in TRAINED])
@pytest.mark.parametrize("defense", ["fedavg", "niss", "dpbfl"])
def test_a_curious_attack_computes_alike(name: str, defense: str, alone: Callable[..., Record]) -> None:
    record = alone(
        entry(defense),
        entry(name),
        model="mlp" if name in ("analytic", "class_fishing", "imprint", "spear") else "lenet",
    )
    assert (record.status, record.error) == ("ok", None)
