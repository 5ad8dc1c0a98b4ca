"""What hides forging: noise that is loud enough, measured against a closed form; quiet rules and strangers do not."""

from collections.abc import Callable

import pytest
import torch

from bench import models
from bench.protocol import Defense, Setting
from bench.suite import Cell, load
from defenses.central_dp_fedavg import CentralDPFedAvg
from defenses.fedavg import FedAvg
from defenses.krum import Krum
from leaderboards.draws import CLASSES, INPUTS, hide_forging, reactions

MODEL = models.build("softmax", (1, 1, INPUTS), CLASSES)
SETTING = Setting(20, 20, MODEL.dim, 5, 1.0, None, 0.2, 1e-6)


def test_noise_moves_as_far_as_two_draws_of_it_are_apart() -> None:
    """Of two draws of N(0, sigma^2) in d coordinates the distance is sqrt(2 d) sigma, here 8 of them within 25 %."""
    z, zeta = 50.0, 3.0
    _, spread = reactions(CentralDPFedAvg(zeta=zeta, z=z), SETTING, MODEL)
    assert spread == pytest.approx((2 * MODEL.dim) ** 0.5 * z * zeta / 20, rel=0.25)


def test_the_mean_is_moved_by_what_is_ten_times_as_long_and_krum_by_nothing() -> None:
    """Four of twenty messages become ten times the honest mean: the mean moves by a fifth of the difference."""
    moved, spread = reactions(FedAvg(), SETTING, MODEL)
    assert spread == 0
    assert moved > 0.15 * 10
    assert reactions(Krum(), SETTING, MODEL)[1] == 0


def clean(name: str, **parameters: float) -> Cell:
    cell = next(cell for cell in load("field").cells() if cell.label == name and cell.attack is None)
    part = cell.defense.model_copy(update={"parameters": {**cell.defense.parameters, **parameters}})
    return cell.model_copy(update={"defense": part})


def test_only_noise_that_is_as_loud_as_forging_hides_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not any(hide_forging(clean(row)) for row in ("krum", "flame", "bucketing + median", "central_dp_fedavg"))
    assert hide_forging(clean("flame", noise_level=1.0))
    assert hide_forging(clean("central_dp_fedavg", z=1000.0))
    assert not hide_forging(clean("dpbfl"))  # votes: nothing is said
    strange: Callable[[Cell], Defense] = lambda cell: Own()  # noqa: E731
    monkeypatch.setattr("leaderboards.draws.build_defense", strange)
    assert not hide_forging(clean("krum"))


class Own(FedAvg):
    """A rule that no board runs."""

    def deliver(self, messages: torch.Tensor, generator: torch.Generator) -> None:  # type: ignore[override]
        raise AssertionError("a board ran somebody's code")
