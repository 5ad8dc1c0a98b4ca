"""DP-FedAvg: clipping, the noise that is asked for and the noise that is added, claims and their composition."""

import math
from collections.abc import Callable
from typing import Literal

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import kstest, norm
from torch import Tensor

from bench.privacy.analysis.compose import compose_gaussian
from bench.privacy.analysis.gaussian import gaussian_sigma
from bench.privacy.sampling import busiest_client
from bench.protocol import Delivered, LocalRound, ServerRound, Setting
from defenses.dp_fedavg import DPFedAvg, clip
from defenses.niss import NISS


def gaussian_delta(epsilon: float, ratio: float) -> float:
    """Balle and Wang 2018, Theorem 8, for ratio = sigma / sensitivity."""
    shift = epsilon * ratio
    return float(norm.cdf(0.5 / ratio - shift) - math.exp(epsilon) * norm.cdf(-0.5 / ratio - shift))


def local_round(setting: Setting, updates: Tensor, seed: int = 0) -> LocalRound:
    clients = torch.arange(len(updates))
    broadcast = torch.linspace(-1, 1, updates.shape[1], dtype=updates.dtype)
    weights = torch.full((len(updates),), 1 / len(updates), dtype=updates.dtype)
    generator = torch.Generator().manual_seed(seed)
    return LocalRound(0, clients, setting, broadcast, updates, weights, generator)


# ------------------------------------------------------------------------------------------------------------ clipping


def test_long_rows_are_scaled_down_and_short_ones_stay() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0], [-30.0, 40.0]])
    expected = torch.tensor([[0.6, 0.8], [0.3, 0.4], [0.0, 0.0], [-0.6, 0.8]])
    torch.testing.assert_close(clip(rows, 1.0), expected)
    assert torch.equal(clip(rows, 1.0)[1:3], rows[1:3])  # exactly


@given(st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=3), st.floats(0.01, 100))
def test_the_direction_stays_and_the_norm_is_at_most_zeta(row: list[float], zeta: float) -> None:
    rows = torch.tensor([row], dtype=torch.float64)
    clipped, norm_before = clip(rows, zeta), math.hypot(*row)
    assert math.hypot(*clipped[0].tolist()) == pytest.approx(min(norm_before, zeta), rel=1e-12)
    torch.testing.assert_close(clipped * max(norm_before / zeta, 1.0), rows)


# --------------------------------------------------------------------------------------------------------------- sigma


@pytest.mark.parametrize(("neighbours", "expected"), [("replace", 0.3), ("add_remove", 0.15)])
def test_the_sensitivity_of_a_weighted_clipped_update(
    neighbours: Literal["replace", "add_remove"], expected: float, make_setting: Callable[..., Setting]
) -> None:
    """zeta = 3 over 20 participants of 50 clients: p_k = 1 / 20."""
    defense = DPFedAvg(neighbours=neighbours)
    setting = make_setting(num_clients=50, participants=20)
    assert defense.sensitivity(setting) == pytest.approx(expected)
    assert defense.derived(setting)["sensitivity"] == pytest.approx(expected)


@pytest.mark.parametrize("neighbours", ["replace", "add_remove"])
@pytest.mark.parametrize("epsilon", [0.1, 0.5, 1.0, 10.0])
def test_analytic_sigma_solves_the_exact_condition(
    epsilon: float, neighbours: Literal["replace", "add_remove"], make_setting: Callable[..., Setting]
) -> None:
    defense = DPFedAvg(epsilon=epsilon, delta=1e-4, neighbours=neighbours)
    ratio = defense.sigma(make_setting()) / defense.sensitivity(make_setting())
    assert gaussian_delta(epsilon, ratio) == pytest.approx(1e-4, rel=1e-6)


@pytest.mark.parametrize("neighbours", ["replace", "add_remove"])
def test_classical_sigma_is_theorem_1(
    neighbours: Literal["replace", "add_remove"], make_setting: Callable[..., Setting]
) -> None:
    defense = DPFedAvg(epsilon=0.5, delta=1e-5, zeta=2.0, neighbours=neighbours, mechanism="classical")
    sensitivity = {"replace": 0.2, "add_remove": 0.1}[neighbours]
    expected = math.sqrt(2 * math.log(1.25e5)) * sensitivity / 0.5
    assert defense.sigma(make_setting()) == pytest.approx(expected)


def test_sigma_at_the_papers_epsilon(make_setting: Callable[..., Setting]) -> None:
    """Errata N11: .455265 and .434361 sensitivities at epsilon = 10, delta = 1e-4."""
    setting = make_setting()
    analytic = DPFedAvg(epsilon=10, delta=1e-4)
    classical = DPFedAvg(epsilon=10, delta=1e-4, mechanism="classical", allow_large_epsilon=True)
    assert analytic.sigma(setting) / analytic.sensitivity(setting) == pytest.approx(0.455265, abs=5e-7)
    assert classical.sigma(setting) / classical.sensitivity(setting) == pytest.approx(0.434361, abs=5e-7)


# ----------------------------------------------------------------------------------------------------------- the round


@pytest.mark.parametrize("neighbours", ["replace", "add_remove"])
@pytest.mark.parametrize("mechanism", ["analytic", "classical"])
def test_the_noise_added_is_gaussian_with_that_variance(
    neighbours: Literal["replace", "add_remove"],
    mechanism: Literal["analytic", "classical"],
    make_setting: Callable[..., Setting],
    has_variance: Callable[[Tensor, float], bool],
) -> None:
    """Variance exact, false alarm 1e-9; Kolmogorov-Smirnov for the shape, false alarm 1e-7 each."""
    defense = DPFedAvg(epsilon=0.9, delta=1e-4, neighbours=neighbours, mechanism=mechanism)
    setting = make_setting()
    updates = torch.randn(20, 5000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)  # norm about 71
    upload = defense.upload(local_round(setting, updates))
    noise = upload.messages - updates / updates.norm(dim=1, keepdim=True) * 3 / 20
    assert upload.peers is None
    assert has_variance(noise, defense.sigma(setting) ** 2)
    assert defense.noise_variance(setting) == pytest.approx(defense.sigma(setting) ** 2)
    assert kstest(noise.flatten().numpy(), norm(scale=defense.sigma(setting)).cdf).pvalue > 1e-7


def test_two_clients_have_noise_of_their_own(make_setting: Callable[..., Setting]) -> None:
    messages = DPFedAvg().upload(local_round(make_setting(), torch.zeros(2, 500))).messages
    correlation = torch.corrcoef(messages)[0, 1]
    assert abs(float(correlation)) < 6 / math.sqrt(500)  # false alarm 2e-9


def test_the_server_adds_the_uploads_up(
    make_setting: Callable[..., Setting], server_round: Callable[..., ServerRound]
) -> None:
    """The uploads carry p_k = 1 / 4 already; of the uploads that arrived, the weights count as a whole."""
    server = server_round(make_setting(participants=4), torch.tensor([10.0]), 4)
    messages = torch.tensor([[0.25], [0.5], [0.75], [1.0]])
    assert DPFedAvg().aggregate(Delivered(messages, torch.arange(4)), server).item() == pytest.approx(12.5)
    two = server_round(make_setting(participants=4), torch.tensor([10.0]), 2)
    assert DPFedAvg().aggregate(Delivered(messages[:2], torch.arange(2)), two).item() == pytest.approx(11.5)


# -------------------------------------------------------------------------------------------------------------- claims


def test_the_classical_mechanism_refuses_a_large_epsilon() -> None:
    with pytest.raises(ValueError, match=r"epsilon.*classical.*allow_large_epsilon"):
        DPFedAvg(epsilon=1.0, mechanism="classical")
    assert DPFedAvg(epsilon=0.999, mechanism="classical").epsilon == 0.999
    assert DPFedAvg(epsilon=10.0).mechanism == "analytic"


def test_where_it_is_allowed_after_all_nothing_is_claimed(make_setting: Callable[..., Setting]) -> None:
    claim = DPFedAvg(epsilon=10.0, mechanism="classical", allow_large_epsilon=True).claim(make_setting())
    assert claim.epsilon is None
    assert claim.reason is not None
    assert claim.reason.startswith("Theorem 1 needs epsilon < 1, not 10: sigma would be 0.137 by the exact condition")
    assert "and 0.13 gives " in claim.reason  # of Delta f = 2 * 3 / 20 (errata N11)
    assert gaussian_delta(float(claim.reason.split()[-1]), 0.434361) == pytest.approx(1e-4, rel=5e-3)


def test_the_claim_is_per_upload(make_setting: Callable[..., Setting]) -> None:
    for defense in (DPFedAvg(epsilon=10.0), DPFedAvg(epsilon=0.5, mechanism="classical")):
        claim = defense.claim(make_setting())
        assert (claim.epsilon, claim.delta, claim.unit) == (defense.epsilon, 1e-4, "per upload")
        assert claim.colluders == 1


@pytest.mark.parametrize("neighbours", ["replace", "add_remove"])
def test_claims_name_their_neighbours(
    neighbours: Literal["replace", "add_remove"], make_setting: Callable[..., Setting]
) -> None:
    defense = DPFedAvg(neighbours=neighbours)
    assert defense.claim(make_setting()).neighbours == defense.composed(make_setting()).neighbours == neighbours


@pytest.mark.parametrize(("participations", "epsilon"), [(10, 49), (30, 116), (60, 207), (100, 322)])
def test_uploads_compose(participations: int, epsilon: int, make_setting: Callable[..., Setting]) -> None:
    """Errata N14; and T Gaussian releases are one at sigma / sqrt(T), by the exact condition."""
    setting = make_setting(rounds=participations, delta=1e-4)
    composed = DPFedAvg(epsilon=10, delta=1e-4).composed(setting)
    assert composed.epsilon == pytest.approx(epsilon, abs=0.5)
    ratio = 0.455265 / math.sqrt(participations)
    assert norm.cdf(0.5 / ratio - composed.epsilon * ratio) > 1e-4  # the first term alone exceeds delta
    log_second = composed.epsilon + norm.logcdf(-0.5 / ratio - composed.epsilon * ratio)
    assert norm.cdf(0.5 / ratio - composed.epsilon * ratio) - math.exp(log_second) == pytest.approx(1e-4, rel=1e-3)


def test_one_upload_composes_to_the_claim(make_setting: Callable[..., Setting]) -> None:
    defense = DPFedAvg(epsilon=2.0, delta=1e-5)
    composed = defense.composed(make_setting(rounds=1, delta=1e-5))
    assert composed.epsilon == pytest.approx(2.0, rel=1e-6)
    assert composed.unit == "per client and run"
    assert composed.source == "1 Gaussian releases"


@pytest.mark.parametrize("defense", [DPFedAvg(epsilon=1.0, delta=1e-6), NISS(epsilon=1.0, delta=1e-6, num_shares=5)])
def test_what_sampled_clients_upload_is_bounded_for_the_busiest(
    defense: DPFedAvg, make_setting: Callable[..., Setting]
) -> None:
    """7 rounds of 20 of 100 clients: 1.4 uploads on average, 1.0; a run's busiest client has 4, 2.12, or all, 2.89."""
    some = defense.composed(make_setting(num_clients=100, participants=20, rounds=7))
    assert some.epsilon == pytest.approx(2.89, abs=0.005)
    assert some.source.startswith("7 Gaussian releases in the busiest client's 7 of 7 rounds")
    ratio = gaussian_sigma(1.0, 1e-6, 1.0)
    assert some.epsilon == compose_gaussian(ratio, 7, 1e-6) > compose_gaussian(ratio, 4, 1e-6) > 2.12
    many = defense.composed(make_setting(num_clients=1000, participants=100, rounds=1000))
    most, left = busiest_client(1000, 100, 1000, 1e-6)
    assert many.epsilon == pytest.approx(compose_gaussian(ratio, most, left), rel=1e-12)
    assert f"busiest client's {most} of 1000 rounds, more with probability {1e-6 - left:.1g}" in many.source


@pytest.mark.parametrize(("field", "value"), [("epsilon", 0.0), ("delta", 0.0), ("delta", 1.0), ("zeta", 0.0)])
def test_parameters_out_of_range_are_refused(field: str, value: float) -> None:
    with pytest.raises(ValueError, match=field):
        DPFedAvg(**{field: value})
