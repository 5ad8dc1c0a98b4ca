"""Pre-aggregations around rules: both ways of composing agree, counts are the wrapped rule's, protocols are refused."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from bench import registry
from bench.base.errors import BadInputError
from bench.protocol import Defense, Delivered, ServerRound, Setting, SumDefense
from bench.rules import PreAggregation, RowRule
from bench.suite import make_part
from defenses.arc import ARC, arc
from defenses.bucketing import Bucketing, bucketing
from defenses.krum import krum
from defenses.nnm import NNM, nnm
from defenses.trimmed_mean import trimmed_mean

N, DIM, F = 15, 40, 3
WRAPPERS = [NNM, ARC, Bucketing]
KINDS: dict[str, type[Defense]] = {name: registry.get("defense", name) for name in registry.names("defense")}
ROW_RULES = sorted(name for name, kind in KINDS.items() if issubclass(kind, RowRule))
PROTOCOLS = [
    *("dp_fedavg", "dpbfl", "fedavg", "ldpbfl", "niss", "robust_dp_fedavg", "rsa", "secure_aggregation"),
    "sign_majority",
]


def rows(seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    messages = torch.randn(N, DIM, generator=generator, dtype=torch.float64)
    messages[:F] = 4 + 0.1 * messages[:F]
    return messages[torch.randperm(N, generator=generator)]


@pytest.fixture
def setting(make_setting: Callable[..., Setting]) -> Setting:
    return make_setting(num_clients=N, participants=N, dim=DIM, assumed_byzantine=F / N)


@pytest.mark.parametrize(
    ("wrapper", "rule"),
    [(NNM, rule) for rule in ROW_RULES]
    # what ARC has cut is equally long: CGE, which drops the longest, has nothing to choose by
    + [(ARC, rule) for rule in ROW_RULES if rule != "cge"],
)
def test_a_row_rule_on_the_mixed_gram_matrix_is_the_rule_on_the_mixed_messages(
    wrapper: type[NNM | ARC], rule: str, setting: Setting, server_round: Callable[..., ServerRound]
) -> None:
    """The one never forms what the other aggregates; where a rule has twins to choose from, they are the same."""
    messages, server = rows(), server_round(setting, torch.ones(DIM, dtype=torch.float64), N)
    mixed = (nnm if wrapper is NNM else arc)(messages, F)
    expected = KINDS[rule]().aggregate(Delivered(mixed, torch.arange(N)), server)
    found = wrapper(rule=rule).aggregate(Delivered(messages, torch.arange(N)), server)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9)


def test_a_coordinate_rule_gets_the_mixed_messages(setting: Setting, server_round: Callable[..., ServerRound]) -> None:
    messages, server = rows(1), server_round(setting, torch.zeros(DIM, dtype=torch.float64), N)
    found = NNM(rule="trimmed_mean").aggregate(Delivered(messages, torch.arange(N)), server)
    torch.testing.assert_close(found, trimmed_mean(nnm(messages, F), F))
    clipped = ARC(rule="trimmed_mean").aggregate(Delivered(messages, torch.arange(N)), server)
    torch.testing.assert_close(clipped, trimmed_mean(arc(messages, F), F))


def test_buckets_are_fewer_and_as_many_of_them_may_be_spoilt(
    setting: Setting, server_round: Callable[..., ServerRound]
) -> None:
    """15 messages in pairs are 8 buckets; Krum among 8 at f = 2 looks at 4 neighbours."""
    fewer = Setting(**{**vars(setting), "assumed_byzantine": 2 / N})
    messages, server = rows(2), server_round(fewer, torch.zeros(DIM, dtype=torch.float64), N)
    found = Bucketing(rule="krum").aggregate(Delivered(messages, torch.arange(N)), server)
    expected = krum(bucketing(messages, torch.Generator().manual_seed(0), 2), 2)
    assert torch.equal(found, expected)
    inner = Bucketing().inner(fewer)
    assert (inner.participants, inner.num_byzantine) == (8, 2)
    with pytest.raises(ValueError, match="Krum"):
        Bucketing(rule="krum").start(setting)  # 3 of 8 are too many for Krum, which 3 of 15 are not
    NNM(rule="krum").start(setting)


def test_wrappers_nest(setting: Setting, server_round: Callable[..., ServerRound]) -> None:
    messages, server = rows(3), server_round(setting, torch.zeros(DIM, dtype=torch.float64), N)
    nested = ARC(rule="nnm", parameters={"rule": "krum"})
    nested.start(setting)
    found = nested.aggregate(Delivered(messages, torch.arange(N)), server)
    torch.testing.assert_close(found, krum(nnm(arc(messages, F), F), F))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_what_is_tolerated_is_what_the_rule_tolerates(wrapper: type[PreAggregation], setting: Setting) -> None:
    assert wrapper(rule="median").tolerates(F / N, setting)
    assert wrapper(rule="median").tolerates(7 / N, setting) is (wrapper is not Bucketing)  # 7 of 8 buckets
    assert not wrapper(rule="median").tolerates(8 / N, setting)
    assert not wrapper(rule="trimmed_mean").tolerates((F + 1) / N, setting)


@pytest.mark.parametrize("rule", PROTOCOLS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_protocols_are_refused_in_one_sentence(wrapper: type[PreAggregation], rule: str) -> None:
    with pytest.raises(ValidationError, match=f"rule is '{rule}', but must be an aggregation rule.*: it "):
        wrapper(rule=rule)


def test_all_that_is_not_a_protocol_is_wrapped() -> None:
    refused = []
    for name, kind in KINDS.items():
        try:
            NNM(rule=name)
        except ValidationError:
            refused.append(name)
            assert name in PROTOCOLS or issubclass(kind, SumDefense) or kind().remembers_clients()
    assert set(PROTOCOLS) <= set(refused)


def test_a_record_tells_the_rules_defaults_and_what_is_wrong_with_a_parameter() -> None:
    part = make_part("defense", "nnm", {"rule": "krum", "parameters": {"num_selected": 2}})
    assert part.parameters["parameters"]["num_selected"] == 2
    assert make_part("defense", "nnm", {"rule": "krum"}).parameters["parameters"]["num_selected"] == 1
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"rule": "krum", "parameters": {"num_selected": 0}}, "num_selected"),
        ({"rule": "krum", "parameters": {"width": 1}}, "width"),
        ({"rule": "krumm"}, "krum"),
    ]
    for parameters, told in wrong:
        with pytest.raises(BadInputError, match=told):
            make_part("defense", "nnm", parameters)
