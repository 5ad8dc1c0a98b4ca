"""Fang's attacks: Krum chooses a row that undoes its own direction; trimmed values lie beyond the honest ones."""

from collections.abc import Callable

import pytest
import torch

from attacks.fang import Fang, beyond_extremes, fang, krum_lambda
from bench.threat import ByzantineView
from defenses.krum import krum
from defenses.median import coordinate_median
from defenses.trimmed_mean import trimmed_mean


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def updates(h: int = 12, d: int = 20, spread: float = 1.0) -> torch.Tensor:
    return 1 + spread * torch.randn(h, d, generator=seeded(1), dtype=torch.float64)


def test_krum_chooses_the_forged_row_and_not_one_twice_as_long() -> None:
    honest = updates()
    forged = fang(honest, 5, seeded())
    factor = float(-forged[0, 0])
    assert torch.equal(forged, torch.full_like(forged, -factor))  # against s = 1, by the same length everywhere
    assert torch.allclose(krum(torch.cat([honest, forged]), 5), forged[0])
    assert not torch.allclose(krum(torch.cat([honest, 2 * forged]), 5), 2 * forged[0])


def test_the_search_starts_at_the_bound_of_theorem_1_and_halves() -> None:
    honest, f = updates(), 5
    h, d = honest.shape
    apart = (honest[:, None] - honest[None]).norm(dim=2)
    nearest = apart.sort(dim=1).values[:, 1 : 1 + h + f - f - 2].sum(dim=1).min()
    bound = (nearest / (h + f - 2 * f - 1) + honest.norm(dim=1).max()) / d**0.5
    halvings = torch.log2(bound / krum_lambda(honest, f, torch.ones(d, dtype=torch.float64)))
    assert float(halvings) == pytest.approx(round(float(halvings)), abs=1e-9)
    assert halvings >= 1


def test_without_success_lambda_falls_below_the_threshold() -> None:
    """One attacker has no second row near by, and honest rows that agree leave it no room."""
    honest = 1 + 1e-9 * torch.randn(9, 4, generator=seeded(2), dtype=torch.float64)
    factor = krum_lambda(honest, 1, torch.ones(4, dtype=torch.float64), threshold=1e-3)
    assert 5e-4 < factor <= 1e-3


def test_values_lie_beyond_the_honest_extreme_on_the_side_against_s() -> None:
    """Section 4.3, b = 2: from the maximum 4 up to 8, from -1 up to -1/2; from the minimum 1 down to 1/2, -2 to -4."""
    honest = torch.tensor([[4.0, -1.0, 1.0, -2.0], [3.0, -3.0, 2.0, 5.0]])
    s = torch.tensor([-1.0, -1.0, 1.0, 1.0])
    forged = beyond_extremes(honest, 4000, s, 2.0, seeded())
    for column, (low, high) in enumerate([(4.0, 8.0), (-1.0, -0.5), (0.5, 1.0), (-4.0, -2.0)]):
        values = forged[:, column]
        assert low <= float(values.min()) <= float(values.max()) <= high
        assert float(values.mean()) == pytest.approx((low + high) / 2, abs=6 * (high - low) / (12 * 4000) ** 0.5)


def test_trimmed_mean_and_median_move_against_the_direction() -> None:
    """Below every honest value, they shift the ranks: the median is the honest one of 4 of 12 places further down."""
    honest = updates()
    forged = fang(honest, 4, seeded(), against="trimmed_mean")
    everyone, ordered = torch.cat([honest, forged]), honest.sort(dim=0).values
    torch.testing.assert_close(coordinate_median(everyone), (ordered[3] + ordered[4]) / 2)
    torch.testing.assert_close(trimmed_mean(everyone, 4), ordered[:8].mean(dim=0))


def test_on_models_the_interval_scales_with_the_model(omniscient_view: Callable[..., ByzantineView]) -> None:
    honest, own, broadcast = torch.full((4, 3), 0.5), torch.full((2, 3), 0.5), torch.full((3,), 10.0)
    view = omniscient_view(honest, own, broadcast=broadcast)
    forged = Fang(against="trimmed_mean").forge(view)
    assert bool(((forged >= 10.5 / 2 - 10) & (forged <= 0.5)).all())
    assert float(forged.min()) < -1  # an update alone would stay in [0.25, 0.5]
    update = Fang(against="trimmed_mean", on="update").forge(omniscient_view(honest, own, broadcast=broadcast))
    assert bool(((update >= 0.25) & (update <= 0.5)).all())


def test_the_direction_is_that_of_the_deployed_rule(omniscient_view: Callable[..., ByzantineView]) -> None:
    honest, own = updates(), torch.zeros(5, 20, dtype=torch.float64)
    backwards = omniscient_view(honest, own, aggregate=lambda rows: -rows.mean(dim=0), broadcast=honest[0] * 0)
    assert bool((Fang().forge(backwards) > 0).all())


def test_arguments_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"direction is torch\.float64, but must be torch\.float32"):
        fang(torch.ones(4, 2), 1, torch.Generator(), direction=torch.ones(2, dtype=torch.float64))
    with pytest.raises(ValueError, match="b is 1"):
        fang(updates(), 2, seeded(), against="trimmed_mean", b=1.0)
    with pytest.raises(ValueError, match="threshold is 0"):
        fang(updates(), 2, seeded(), threshold=0.0)
    with pytest.raises(ValueError, match="honest is"):
        fang(updates(h=1), 2, seeded())
