"""DeepSight: energies and exceedings by hand, DDif of a model that is written out, suspicious clusters, refusals."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.models import build
from bench.protocol import Delivered, ServerRound, Setting
from defenses.deepsight import (
    EPSILON,
    DeepSight,
    accepted,
    apart,
    deepsight,
    division_differences,
    exceedings,
    update_energies,
)

N, CLASSES = 15, 10


def test_energies_and_exceedings_by_hand() -> None:
    """|b| + sum |w| = 3, 1, 0: squares 9, 1, 0 of 10; above a third of the largest there is one class."""
    weight = torch.tensor([[[1.0, -1.0], [0.5, 0.0], [0.0, 0.0]]])
    energies = update_energies(weight, torch.tensor([[-1.0, 0.5, 0.0]]))
    assert energies.tolist() == [pytest.approx([0.9, 0.1, 0.0])]
    assert exceedings(energies).tolist() == [1]
    assert exceedings(torch.tensor([[0.5, 0.3, 0.2], [1.0, 0.0, 0.0]])).tolist() == [3, 1]
    assert update_energies(torch.zeros(1, 3, 2), torch.zeros(1, 3)).tolist() == [pytest.approx([1 / 3] * 3)]
    huge = update_energies(torch.full((1, 3, 2), 1e300, dtype=torch.float64), torch.zeros(1, 3, dtype=torch.float64))
    assert huge.tolist() == [pytest.approx([1 / 3] * 3)]


def test_division_differences_of_two_probabilities() -> None:
    """A bias alone: the broadcast answers (1/2, 1/2) whatever the noise, the client (3/4, 1/4)."""
    model = build("softmax", (1, 1, 2), 2)
    broadcast = torch.zeros(model.dim, dtype=torch.float64)
    client = broadcast.clone()
    client[-2] = torch.log(torch.tensor(3.0, dtype=torch.float64))
    found = division_differences(model, torch.stack([client, broadcast]), broadcast, torch.rand(7, 1, 1, 2).double())
    expected = torch.tensor([[1.5, 0.5], [1.0, 1.0]], dtype=torch.float64) * 0.5 / (0.5 + EPSILON)
    torch.testing.assert_close(found, expected)


def test_two_groups_are_apart_and_a_suspicious_one_is_left_out() -> None:
    gaps = torch.ones(12, 12, dtype=torch.float64)
    gaps[:6, :6] = gaps[6:, 6:] = 0.0
    gaps += 1e-3 * (1 - torch.eye(12, dtype=torch.float64))
    assert apart(gaps)[0].tolist() == [0.0] * 6 + [1.0] * 6
    flagged = torch.zeros(12, dtype=torch.bool)
    flagged[:2] = True  # two of six are a third
    assert accepted(gaps, flagged, 1 / 3).tolist() == [False] * 6 + [True] * 6
    assert accepted(gaps, flagged, 0.34).all()


def clients(dim: int, backdoored: int) -> Tensor:
    """Alike updates of all classes; the last layer of those backdoored moves in two classes alone."""
    draws = torch.Generator().manual_seed(0)
    rows = 1 + 0.05 * torch.randn(N, dim, generator=draws, dtype=torch.float64)
    weight = rows[:, : dim - CLASSES].unflatten(1, (CLASSES, -1))
    weight[:backdoored, 2:] *= 1e-3
    rows[:backdoored, dim - CLASSES + 2 :] *= 1e-3
    return rows


def test_a_cluster_that_moves_few_classes_is_out(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    model = build("softmax", (1, 1, 4), CLASSES)
    rows = 0.1 * clients(model.dim, 5)
    setting = make_setting(num_clients=N, participants=N, dim=model.dim)
    base = server_round(setting, torch.zeros(model.dim, dtype=torch.float64), N)
    server = ServerRound(**{**vars(base), "layers": model.layers, "model": model})
    found = DeepSight(num_samples=1500).aggregate(Delivered(rows, torch.arange(N)), server)
    norms = rows.norm(dim=1)
    clipped = rows * (norms.quantile(0.5) / norms).clamp(max=1)[:, None]
    torch.testing.assert_close(found, clipped[5:].mean(dim=0))


def test_where_nobody_counts_the_model_stays() -> None:
    """One cluster of eight alike clients, five of whom move one class alone: more than half the median of one."""
    rows = 1 + 1e-3 * torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    energies = torch.tensor([[1.0, 0.0, 0.0]] * 3 + [[1.0, 0.9, 0.8]] * 5, dtype=torch.float64)
    assert exceedings(energies).tolist() == [1] * 3 + [3] * 5
    assert deepsight(rows, energies, rows, rows[None], tau=0.375).tolist() == [0, 0, 0]  # 3 of 8 are suspicious
    assert deepsight(rows, energies, rows, rows[None], tau=0.38).tolist() == pytest.approx([1, 1, 1], abs=1e-2)


def test_refusals(make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]) -> None:
    rows = torch.ones(4, 3)
    with pytest.raises(ValueError, match="at least 5, the smallest cluster"):
        deepsight(rows, rows, rows, rows[None])
    with pytest.raises(ValueError, match="at least 5"):
        DeepSight().start(make_setting(num_clients=4, participants=4))
    server = server_round(make_setting(), torch.zeros(7), 20)
    with pytest.raises(ValueError, match="nothing says what model it is"):
        DeepSight().aggregate(Delivered(torch.ones(20, 7), torch.arange(20)), server)
    with pytest.raises(ValueError, match="weight is"):
        update_energies(torch.ones(2, 3), torch.ones(2, 3))
