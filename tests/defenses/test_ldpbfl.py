"""LDPBFL: DPBFL without the shuffler; gamma and epsilon are tied by Theorem 4."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bench.federation.engine import Federation
from bench.privacy.analysis.compose import compose_local
from bench.privacy.sampling import busiest_client
from bench.protocol import Setting
from defenses.dpbfl import DPBFL
from defenses.ldpbfl import LDPBFL


@pytest.mark.parametrize("epsilon", [0.1, math.log(2), 1.0, 2.15, 20.0])
def test_epsilon_gives_gamma_and_is_claimed(epsilon: float, make_setting: Callable[..., Setting]) -> None:
    """(1 - 2 g / 3) / (g / 3) = exp(epsilon) at g = 3 / (exp(epsilon) + 2)."""
    defense = LDPBFL(epsilon=epsilon)  # type: ignore[call-arg]
    assert defense.gamma == pytest.approx(3 / (math.exp(epsilon) + 2))
    claim = defense.claim(make_setting())
    assert claim.epsilon == pytest.approx(epsilon)
    assert claim.delta == 0
    assert claim.colluders == defense.composed(make_setting()).colluders == 1  # its own randomness alone


def test_gamma_gives_the_largest_ratio_of_two_outputs(make_setting: Callable[..., Setting]) -> None:
    gamma = 0.283
    claimed = LDPBFL(gamma=gamma).claim(make_setting()).epsilon
    assert math.exp(claimed) == pytest.approx((1 - gamma + gamma / 3) / (gamma / 3))
    assert claimed == pytest.approx(2.15, abs=0.01)  # errata D7


@pytest.mark.parametrize(
    "parameters",
    [{"epsilon": 1.0, "gamma": 0.3}, {"epsilon": 0.0}, {"epsilon": -1.0}, {"epsilon": math.nan}, {"epsilon": "high"}],
    ids=str,
)
def test_parameters_out_of_range_are_refused(parameters: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="epsilon"):
        LDPBFL(**parameters)


def test_no_noise_is_no_claim(make_setting: Callable[..., Setting]) -> None:
    for claim in (LDPBFL(gamma=0.0).claim(make_setting()), LDPBFL(gamma=0.0).composed(make_setting())):
        assert claim.epsilon is None
        assert claim.reason is not None


def test_messages_arrive_under_their_senders_names() -> None:
    messages = torch.arange(12, dtype=torch.int8).reshape(4, 3)
    delivered = LDPBFL().deliver(messages, torch.Generator())
    assert delivered.linked
    assert torch.equal(delivered.messages, messages)
    assert delivered.senders is not None
    assert delivered.senders.tolist() == [0, 1, 2, 3]


def test_it_keeps_dpbfls_parameters_and_bound(make_setting: Callable[..., Setting]) -> None:
    by_epsilon, by_gamma = LDPBFL(epsilon=1.0, penalty=0.05), DPBFL(gamma=3 / (math.e + 2), penalty=0.05)  # type: ignore[call-arg]
    assert by_epsilon.model_dump() == pytest.approx(by_gamma.model_dump())
    assert by_epsilon.derived(make_setting()) == pytest.approx(by_gamma.derived(make_setting()))


def test_of_sampled_clients_the_busiest_one_counts(make_setting: Callable[..., Setting]) -> None:
    """Half of 100 clients in each of 40 rounds: 20 rounds on average, 37 of the busiest but with probability 7e-8."""
    setting = make_setting(dim=650, rounds=40, num_clients=100, participants=50)
    rounds, delta = busiest_client(100, 50, 40, 1e-6)
    assert 30 < rounds < 40
    assert delta < 1e-6
    claim = LDPBFL(gamma=0.6).composed(setting)
    assert claim.epsilon == pytest.approx(compose_local(0.6, 650 * rounds, delta), rel=1e-9)
    assert claim.epsilon != pytest.approx(compose_local(0.6, 650 * rounds, 1e-6), rel=1e-6)
    told = f"{650 * rounds:,} ternary randomized responses in the busiest client's {rounds} of 40 rounds"
    assert claim.source.startswith(f"{told}, more with probability {1e-6 - delta:.1g}")
    assert claim.delta == 1e-6
    assert LDPBFL(gamma=0.6).claim(setting) == LDPBFL(gamma=0.6).claim(make_setting())  # one release, whoever is drawn


def test_a_round_of_sampled_clients_counts_their_votes_alone(make_federation: Callable[..., Federation]) -> None:
    """At gamma = 0 the votes are signs: w - kappa alpha / m lambda sum, m the participants."""
    defense = LDPBFL(gamma=0.0)
    playing, in_sums = (make_federation(defense, participation=0.5, dtype="float64") for _ in range(2))
    for _ in range(3):
        before = playing.global_model
        played = playing.play()
        assert len(played.participants) == len(played.messages) == 10
        assert played.delivered.senders is not None
        assert played.delivered.senders.tolist() == list(range(10))
        assert torch.equal(played.messages, torch.sign(-played.updates).to(torch.int8))
        votes = played.messages.double().sum(dim=0)
        torch.testing.assert_close(playing.global_model, before - defense.kappa * 0.1 / 10 * defense.penalty * votes)
        in_sums.advance()
        torch.testing.assert_close(in_sums.global_model, playing.global_model)
