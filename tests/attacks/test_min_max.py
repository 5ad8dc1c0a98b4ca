"""Min-Max and Min-Sum: the root of the constraint, by hand, against a bisection, and on the constraint's edge."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from attacks.min_max import MinMax, min_max
from attacks.min_sum import MinSum, min_sum
from bench.attacking.forging import Perturbation, Sign
from bench.suite import make_part
from bench.threat import ByzantineView

PERTURBATIONS: list[Perturbation] = ["unit", "std", "sign"]


def within(row: Tensor, honest: Tensor, sums: bool) -> bool:
    """The largest distance, or the sum of squares with `sums`, straight from the definition; 1e-9 of it is rounding."""
    to_forged = (row - honest).double().square().sum(dim=1)
    apart = (honest[:, None] - honest[None]).double().square().sum(dim=2)
    if sums:
        return bool(to_forged.sum() <= apart.sum(dim=1).max() * (1 + 1e-9))
    return bool(to_forged.max() <= apart.max() * (1 + 1e-9))


def bisected(honest: Tensor, direction: Tensor, sums: bool) -> Tensor:
    """The bisection of the paper, to the end: the largest gamma of the interval in which the constraint holds."""
    mean, low, high = honest.mean(dim=0), 0.0, 1e6
    for _ in range(100):
        middle = (low + high) / 2
        low, high = (middle, high) if within(mean + middle * direction, honest, sums) else (low, middle)
    return mean + low * direction


WAYS: list[tuple[Perturbation, Sign]] = [("unit", "plus"), ("std", "plus"), ("std", "minus"), ("sign", "plus")]
DOWN = [way for way in WAYS if way != ("std", "plus")]
"""Where the mean is positive."""


@pytest.mark.parametrize(("perturbation", "sign"), DOWN)
def test_three_numbers(perturbation: Perturbation, sign: Sign) -> None:
    """0, 0, 3: no further than 3 from any is 0; 2 m^2 + (m - 3)^2 <= 18 down to m = -1."""
    honest = torch.tensor([[0.0], [0.0], [3.0]], dtype=torch.float64)
    zeros, ones = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    torch.testing.assert_close(min_max(honest, 2, perturbation, sign=sign), zeros)
    torch.testing.assert_close(min_sum(honest, 2, perturbation, sign=sign), -ones)


def test_three_numbers_the_authors_way() -> None:
    """0, 0, 3 along +sigma: no further than 3 from 0 is 3; 2 m^2 + (m - 3)^2 <= 18 up to m = 3."""
    honest = torch.tensor([[0.0], [0.0], [3.0]], dtype=torch.float64)
    for attack in (min_max, min_sum):
        torch.testing.assert_close(attack(honest, 2), torch.full((2, 1), 3.0, dtype=torch.float64))


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_updates_move_as_the_authors_gradients_do(attack: Callable[..., Tensor]) -> None:
    """Their code sends mean - lambda sigma of gradients; an update is minus a gradient."""
    gradients = 0.4 + torch.randn(6, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    theirs = bisected(gradients, -gradients.std(dim=0), sums=attack is min_sum)
    torch.testing.assert_close(attack(-gradients, 1)[0], -theirs, rtol=1e-6, atol=1e-6)
    other = bisected(gradients, gradients.std(dim=0), sums=attack is min_sum)
    torch.testing.assert_close(attack(-gradients, 1, sign="minus")[0], -other, rtol=1e-6, atol=1e-6)


def test_the_sign_is_that_of_the_deviation_alone() -> None:
    with pytest.raises(ValueError, match="sign is 'minus', but must be plus with perturbation 'unit'"):
        min_max(torch.ones(3, 2), 1, "unit", sign="minus")
    with pytest.raises(ValueError, match="sign is 'minus', but must be plus with perturbation 'sign'"):
        MinSum(perturbation="sign", sign="minus")


def test_a_record_of_the_other_default_is_of_another_cell() -> None:
    """Version 1 went against the deviation."""
    for name in ("min_max", "min_sum"):
        part = make_part("attack", name, {})
        assert (part.version, part.parameters) == (2, {"perturbation": "std", "sign": "plus"})


@pytest.mark.parametrize(("perturbation", "sign"), WAYS)
@pytest.mark.parametrize("sums", [False, True])
@given(h=st.integers(2, 8), d=st.integers(1, 6), seed=st.integers(0, 999), offset=st.floats(-3, 3))
def test_the_root_is_where_a_bisection_ends(
    perturbation: Perturbation, sign: Sign, sums: bool, h: int, d: int, seed: int, offset: float
) -> None:
    honest = offset + torch.randn(h, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    mean = honest.mean(dim=0)
    sigma = honest.std(dim=0) * (1 if sign == "plus" else -1)
    direction = {"unit": -mean / mean.norm(), "std": sigma, "sign": -mean.sign()}[perturbation]
    forged = (min_sum if sums else min_max)(honest, 3, perturbation, sign=sign)
    assert forged.shape == (3, d)
    torch.testing.assert_close(forged[0], bisected(honest, direction, sums), rtol=1e-6, atol=1e-6)


def test_rows_do_not_depend_on_the_order_of_the_honest() -> None:
    honest = torch.randn(7, 5, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    for attack in (min_max, min_sum):
        torch.testing.assert_close(attack(honest, 1), attack(honest.flip(0), 1))


@pytest.mark.parametrize("attack", [min_max, min_sum])
def test_honest_clients_that_agree_leave_no_room(attack: Callable[..., Tensor]) -> None:
    honest = torch.ones(4, 3)
    for perturbation in PERTURBATIONS:
        torch.testing.assert_close(attack(honest, 2, perturbation), torch.ones(2, 3))
    assert torch.equal(attack(torch.zeros(4, 3), 2, "unit"), torch.zeros(2, 3))


def test_the_classes_are_the_functions(omniscient_view: Callable[..., ByzantineView]) -> None:
    honest = torch.randn(6, 4, generator=torch.Generator().manual_seed(3))
    view = omniscient_view(honest, torch.zeros(2, 4))
    assert torch.equal(MinMax(perturbation="sign").forge(view), min_max(honest, 2, "sign"))
    assert torch.equal(MinSum().forge(view), min_sum(honest, 2))
