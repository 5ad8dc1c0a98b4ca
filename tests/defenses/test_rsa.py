"""RSA: the sum of signs and the server's step, hand-worked."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.protocol import Delivered, LocalRound, ServerRound, Setting
from defenses.rsa import RSA, sign_sum


def test_signs_of_global_minus_local_are_added_up() -> None:
    global_model = torch.tensor([1.0, 1.0, 1.0])
    local_models = torch.tensor([[0.0, 1.0, 9.0], [0.5, 1.0, 2.0], [7.0, 0.0, 1.5]])
    assert sign_sum(global_model, local_models).tolist() == [1.0, 1.0, -3.0]  # sign(0) is 0


def test_a_vote_weighs_the_same_however_far_the_model_is() -> None:
    local_models = torch.tensor([[1e38], [-1e-38], [-1e-38]])
    assert sign_sum(torch.zeros(1), local_models).tolist() == [1.0]


@pytest.mark.parametrize("local_models", [torch.zeros(0, 2), torch.tensor([[torch.nan, 0.0]])], ids=["empty", "nan"])
def test_local_models_out_of_range_are_refused(local_models: Tensor) -> None:
    with pytest.raises(ValueError, match="local_models"):
        sign_sum(torch.zeros(2), local_models)


def test_the_step_of_equation_4(make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]) -> None:
    """alpha_0 = kappa * lr / sqrt(1 + k / decay) / m = 3 * 0.8 / 2 / 4 = 0.3; the step is 0.3 (0.1 w_0 + 0.5 z)."""
    setting = make_setting(participants=4, lr=0.8, lr_decay=2.0)
    defense = RSA(penalty=0.5, kappa=3.0, weight_decay=0.1)
    broadcast = torch.tensor([10.0, -2.0])
    models = torch.tensor([[9.0, -2.0], [8.0, 5.0], [11.0, 5.0], [9.5, 5.0]])  # z = (2, -3)
    delivered = Delivered(models - broadcast, torch.arange(4))
    found = defense.aggregate(delivered, server_round(setting, broadcast, 4, index=6))
    torch.testing.assert_close(found, torch.tensor([10 - 0.3 * (1 + 1), -2 - 0.3 * (-0.2 - 1.5)]))


def test_clients_upload_their_distance_to_the_broadcast(make_setting: Callable[..., Setting]) -> None:
    broadcast, models = torch.tensor([1.0, 2.0]), torch.tensor([[3.0, 2.0], [0.0, 5.0]])
    local = LocalRound(
        0, torch.arange(2), make_setting(), broadcast, models - broadcast, torch.ones(2) / 2, torch.Generator()
    )
    upload = RSA().upload(local)
    assert upload.messages.tolist() == [[2.0, 0.0], [-1.0, 3.0]]
    assert upload.peers is None


def test_one_forged_row_moves_a_coordinate_by_two_votes_at_most(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    setting = make_setting(participants=9, lr=0.1)
    messages = torch.randn(9, 30, generator=torch.Generator().manual_seed(0))
    server = server_round(setting, torch.zeros(30), 9)
    honest = RSA().aggregate(Delivered(messages, torch.arange(9)), server)
    forged = messages.clone()
    forged[4] *= -1e30
    moved = RSA().aggregate(Delivered(forged, torch.arange(9)), server) - honest
    vote = RSA().kappa * 0.1 / 9 * RSA().penalty
    torch.testing.assert_close(moved.abs(), torch.full((30,), 2 * vote))


@pytest.mark.parametrize("field", ["penalty", "kappa"])
def test_parameters_must_be_positive(field: str) -> None:
    with pytest.raises(ValueError, match=field):
        RSA(**{field: 0.0})


@pytest.mark.parametrize(("fraction", "fine"), [(0.49, True), (0.5, False)])
def test_it_tolerates_less_than_half(fraction: float, fine: bool, make_setting: Callable[..., Setting]) -> None:
    assert RSA().tolerates(fraction, make_setting()) is fine
