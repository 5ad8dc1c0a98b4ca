"""Central DP-FedAvg: clipping, one noise on the sum, what is claimed against whom, and its composition."""

from collections.abc import Callable

import pytest
import torch
from dp_accounting.dp_event import GaussianDpEvent, PoissonSampledDpEvent, SelfComposedDpEvent
from dp_accounting.rdp import RdpAccountant
from scipy.stats import norm
from torch import Tensor

from bench.federation.engine import Federation
from bench.privacy.sampling import compose_hidden_draws
from bench.protocol import Delivered, LocalRound, ServerRound, Setting
from bench.threat import server_view
from defenses.central_dp_fedavg import CentralDPFedAvg, central_dp_fedavg

Make = Callable[..., Federation]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_clipped_rows_are_averaged() -> None:
    """Norms 5 and 0.5 at zeta 1: ((0.6, 0.8) + (0.3, 0.4)) / 2, almost without noise."""
    messages = torch.tensor([[3.0, 4.0], [0.3, 0.4]], dtype=torch.float64)
    found = central_dp_fedavg(messages, generator(), zeta=1.0, z=1e-12)
    torch.testing.assert_close(found, torch.tensor([0.45, 0.6], dtype=torch.float64))


def test_the_noise_on_the_mean_is_z_zeta_over_n(has_variance: Callable[[Tensor, float], bool]) -> None:
    found = central_dp_fedavg(torch.zeros(5, 20_000, dtype=torch.float64), generator(), zeta=2.0, z=3.0)
    assert has_variance(found, (3 * 2 / 5) ** 2)


def test_the_class_is_the_function(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    setting, defense = make_setting(participants=6), CentralDPFedAvg(zeta=2.0, z=0.7)
    updates = 3 * torch.randn(6, 7, generator=generator(1), dtype=torch.float64)
    broadcast = torch.ones(7, dtype=torch.float64)
    local = LocalRound(0, torch.arange(6), setting, broadcast, updates, torch.ones(6) / 6, generator(2))
    sent = defense.upload(local).messages
    assert float(sent.norm(dim=1).max()) <= 2 + 1e-12
    found = defense.aggregate(Delivered(sent, torch.arange(6)), server_round(setting, broadcast, 6))
    torch.testing.assert_close(found, broadcast + central_dp_fedavg(updates, generator(0), zeta=2.0, z=0.7))


def test_a_client_that_is_there_or_not_moves_the_sum_by_zeta_at_most(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """Also where others stay away, who count as 0: in units of the noise it is 1 / z."""
    setting, defense = make_setting(participants=6), CentralDPFedAvg(zeta=2.0, z=0.7)
    rows = 2 * torch.nn.functional.normalize(torch.randn(4, 7, generator=generator(1), dtype=torch.float64))
    without = defense.aggregate(Delivered(rows[:3], None), server_round(setting, torch.zeros(7).double(), 3))
    with_ = defense.aggregate(Delivered(rows, None), server_round(setting, torch.zeros(7).double(), 4))
    assert float((with_ - without).norm()) / defense.sigma(setting) == pytest.approx(1 / 0.7)


@pytest.mark.parametrize("messages", ["always", "as_needed"])
def test_a_round_in_sums_is_the_round_in_messages(messages: str, make_federation: Make) -> None:
    federation = make_federation(CentralDPFedAvg(), dtype="float64", messages=messages)
    reference = make_federation(CentralDPFedAvg(), dtype="float64")
    federation.advance()
    reference.play()
    torch.testing.assert_close(federation.global_model, reference.global_model, rtol=0, atol=1e-12)


# -------------------------------------------------------------------------------------------------------------- claims


def test_without_sampling_the_claim_is_the_gaussian_mechanisms_own(make_setting: Callable[..., Setting]) -> None:
    """Balle and Wang 2018, theorem 8, at sensitivity over sigma 1 / z; T rounds are one at z / sqrt(T)."""
    setting = make_setting(rounds=9, delta=1e-5)
    defense = CentralDPFedAvg(z=2.0)
    for claim, ratio in ((defense.claim(setting), 2.0), (defense.composed(setting), 2.0 / 3)):
        assert claim.epsilon is not None
        shift = claim.epsilon * ratio
        log_tail = claim.epsilon + norm.logcdf(-0.5 / ratio - shift)
        assert norm.cdf(0.5 / ratio - shift) - pow(2.718281828459045, log_tail) == pytest.approx(1e-5, rel=1e-4)
    assert "not against the server" in defense.claim(setting).source
    assert defense.claim(setting).neighbours == "add_remove"


def test_sampled_clients_have_less_to_fear(make_setting: Callable[..., Setting]) -> None:
    """1000 rounds at z = 1.1, a hundredth of the clients in each: more than by Poisson, which draws nobody's place."""
    setting = make_setting(num_clients=10_000, participants=100, rounds=1000, delta=1e-5)
    epsilon = CentralDPFedAvg(z=1.1).composed(setting).epsilon
    accountant = RdpAccountant()
    release = PoissonSampledDpEvent(0.01, GaussianDpEvent(1.1))
    poisson = accountant.compose(SelfComposedDpEvent(release, 1000)).get_epsilon(1e-5)
    assert epsilon is not None
    assert epsilon == compose_hidden_draws(1.1, 10_000, 100, 1000, 1e-5)
    assert epsilon > poisson
    whole = CentralDPFedAvg(z=1.1).composed(make_setting(num_clients=100, participants=100, rounds=1000, delta=1e-5))
    assert whole.epsilon is not None
    assert whole.epsilon > 30 * epsilon
    assert "100 of 10000 clients drawn unseen" in CentralDPFedAvg().composed(setting).source


def test_the_server_itself_sees_every_clipped_update(make_federation: Make) -> None:
    """No audit is asked for: its adversary is the server, against whom nothing is claimed."""
    transcript = make_federation(CentralDPFedAvg(zeta=0.01), dtype="float64").play()
    view = server_view(transcript, torch.tensor([3]))
    assert view.hidden_among.tolist() == [1]
    expected = transcript.updates[3] * 0.01 / transcript.updates[3].norm()
    torch.testing.assert_close(view.estimate[0], expected)
    assert not CentralDPFedAvg.claims_privacy()
    setting = make_federation(CentralDPFedAvg()).setting
    assert CentralDPFedAvg().noise_variance(setting) is None
    assert CentralDPFedAvg().derived(setting)["sigma"] == pytest.approx(3 / 20)
