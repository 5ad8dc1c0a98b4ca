"""A robust rule behind DP-FedAvg's uploads: audits and inversions see what they see under DP-FedAvg, bit for bit."""

from collections.abc import Callable
from typing import Any

import pytest

from bench.records import Record

Play = Callable[..., Record]
PLAIN = {"name": "dp_fedavg", "epsilon": 4.0}
RULES: list[dict[str, Any]] = [
    {"rule": "fedavg"},
    {"rule": "median"},
    {"rule": "krum"},
    {"rule": "nnm", "parameters": {"rule": "trimmed_mean"}},
]
every_rule = pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["rule"]))


def robust(rule: dict[str, Any]) -> dict[str, Any]:
    return {**PLAIN, "name": "robust_dp_fedavg", **rule}


@every_rule
@pytest.mark.parametrize("rho", [0.0, 1.0])
def test_an_audit_finds_what_it_finds_under_dp_fedavg(play: Play, rule: dict[str, Any], rho: float) -> None:
    attack = {"name": "audit", "runs": 200, "dim": 5, "rho": rho}
    plain, found = (play(defense, attack, clients=9) for defense in (PLAIN, robust(rule)))
    assert (found.status, found.error) == ("ok", None)
    assert found.metrics == plain.metrics
    assert found.privacy == plain.privacy
    assert found.privacy.claimed is not None
    assert found.privacy.claimed.epsilon == 4.0
    assert found.metrics["epsilon_audited"] < 4.0


@every_rule
@pytest.mark.parametrize("epsilon", [4.0, 1e6])
def test_an_inversion_sees_what_it_sees_under_dp_fedavg(play: Play, rule: dict[str, Any], epsilon: float) -> None:
    attack = {"name": "analytic", "privacy": {"model": "mlp", "rounds": 1}}
    plain, found = (play({**defense, "epsilon": epsilon}, attack) for defense in (PLAIN, robust(rule)))
    assert (found.status, found.error) == ("ok", None)
    assert found.metrics == plain.metrics
    assert found.psnr == plain.psnr
