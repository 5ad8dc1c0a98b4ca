"""Clients that hold different numbers of samples: who weighs what."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from attacks.label_flip import LabelFlip
from attacks.sign_flip import SignFlip
from bench import registry
from bench.data import load
from bench.federation.engine import Federation
from bench.federation.settings import FederationSettings
from bench.threat import ByzantineAttack


def federation(defense: str, attack: ByzantineAttack | None = None, **changes: Any) -> Federation:
    given: dict[str, Any] = {
        "dataset": "digits", "clients": 10, "samples_per_client": 12, "rounds": 2, "local_steps": 2, "batch_size": 5,
        "lr": 0.1, "sizes": "lognormal", "assumed_byzantine": 0.2, "dtype": "float64",
    }  # fmt: skip
    settings = FederationSettings(**{**given, **changes})
    built = registry.get("defense", defense)()
    return Federation(settings, built, load("digits"), 0, attack, 0.2 if attack else 0.0)


@pytest.mark.parametrize("name", ["fedavg", "secure_aggregation"])
@pytest.mark.parametrize("participation", [1.0, 0.5])
def test_means_weigh_each_client_by_what_it_holds(name: str, participation: float) -> None:
    found = federation(name, participation=participation)
    held = found._sizes
    assert held is not None
    assert (int(held.sum()), int(held.max()) > 2 * int(held.min())) == (120, True)
    for _ in range(2):
        before = found.global_model.clone()
        transcript = found.play()
        own = held[transcript.participants].double()
        weights = own / own.sum()
        torch.testing.assert_close(found.global_model, before + weights @ transcript.updates, rtol=0, atol=1e-12)


@pytest.mark.parametrize("attack", [None, SignFlip(), LabelFlip()], ids=["clean", "sign flip", "label flip"])
@pytest.mark.parametrize("name", ["fedavg", "secure_aggregation", "sign_majority"])
def test_a_round_in_sums_is_a_round_of_messages(name: str, attack: ByzantineAttack | None) -> None:
    sums, messages = (federation(name, attack, messages=kind) for kind in ("as_needed", "always"))
    for _ in range(2):
        sums.advance()
        messages.advance()
    torch.testing.assert_close(sums.global_model, messages.global_model, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["median", "krum"])
def test_rules_on_rows_are_told_nothing_of_sizes(name: str) -> None:
    found = federation(name)
    before = found.global_model.clone()
    transcript = found.play()
    rule = registry.get("defense", name)()
    server = found._server_round(torch.full((10,), 0.1, dtype=torch.float64))
    server = replace(server, global_model=before)
    torch.testing.assert_close(found.global_model, rule.aggregate(transcript.delivered, server), rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", ["dp_fedavg", "niss", "central_dp_fedavg"])
def test_claims_for_equal_weights_refuse_others(name: str) -> None:
    with pytest.raises(ValueError, match=f"^sizes is 'lognormal', but must be 'equal' under {name}: what it claims"):
        federation(name)


@pytest.mark.parametrize("name", ["dpbfl", "ldpbfl", "rsa"])
def test_votes_count_alike(name: str) -> None:
    found = federation(name)
    for _ in range(2):
        found.advance()
    assert bool(found.global_model.isfinite().all())
