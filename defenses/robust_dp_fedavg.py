"""Robust DP-FedAvg (Guerraoui et al. 2021): clients clip and add noise as in DP-FedAvg, a robust rule aggregates.

The paper is "Differential privacy and Byzantine resilience in SGD: do they add up?" (arXiv 2102.08166). In its authors'
code each honest worker clips its gradient and adds Gaussian noise, attackers see what is sent, and a robust rule
aggregates all of it. So do Allouah et al. 2023 (arXiv 2302.04787) with SMEA, and Fed-DPRoC (arXiv 2508.12978) behind a
compression. There neighbours differ by one sample, here by one client, as in `dp_fedavg`.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import Field, ValidationInfo, field_validator
from torch import Tensor

from bench import registry
from bench.protocol import Defense, Delivered, ServerRound, Setting, Sums
from bench.registry import register
from bench.rules import rule_of
from defenses.dp_fedavg import DPFedAvg

MEAN = "fedavg"
"""The rule under which the defense is `dp_fedavg`."""


@register("defense", "robust_dp_fedavg")
class RobustDPFedAvg(DPFedAvg):
    """Uploads, claim and composition are those of `dp_fedavg`; the server aggregates u_k / p_k by `rule`.

    What the server makes of the uploads is post-processing, so that no rule changes the claim. u_k / p_k is the clipped
    update plus N(0, (sigma_k / p_k)^2 I). A round is played in sums under `fedavg` alone.
    """

    rule: str = "median"
    parameters: dict[str, Any] = Field(default_factory=dict, validate_default=True)

    @field_validator("parameters")
    @classmethod
    def _of_the_rule(cls, parameters: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """All parameters of the rule, defaults included, so that a record tells them."""
        if "rule" not in info.data:
            return parameters  # the rule's own fault is told
        if info.data["rule"] == MEAN:
            return registry.get("defense", MEAN)(**parameters).model_dump()  # type: ignore[no-any-return]
        return rule_of(info.data["rule"], parameters).model_dump()

    @property
    def wrapped(self) -> Defense:
        """The rule itself."""
        rule: Defense = registry.get("defense", self.rule)(**self.parameters)
        return rule

    def start(self, setting: Setting) -> None:
        super().start(setting)
        self.wrapped.start(setting)

    def sums(self, setting: Setting) -> Sums | None:
        return Sums(RobustDPFedAvg) if self.rule == MEAN else None

    def aggregate(self, delivered: Delivered, server: ServerRound) -> Tensor:
        if self.rule == MEAN:
            return super().aggregate(delivered, server)
        updates = delivered.messages / server.weights[:, None]  # rules and their lengths are of updates, not of shares
        return self.wrapped.aggregate(Delivered(updates, delivered.senders), server)

    def tolerates(self, fraction: float, setting: Setting) -> bool:
        return self.wrapped.tolerates(fraction, setting)

    def remembers_clients(self) -> bool:
        return self.wrapped.remembers_clients()

    def singled_out(self, memory: Mapping[str, Tensor]) -> dict[str, int]:
        return self.wrapped.singled_out(memory)

    def num_root_samples(self) -> int:
        return self.wrapped.num_root_samples()

    def derived(self, setting: Setting) -> dict[str, float]:
        return {**self.wrapped.derived(setting), **super().derived(setting)}
